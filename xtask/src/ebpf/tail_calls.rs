//! A check of the object: every tail call has a constant slot, and is in a program without functions.
//!
//! The kernel turns `bpf_tail_call` into a direct jump only if the verifier knows the slot (`fixup_bpf_calls`
//! in kernel/bpf/verifier.c, Linux 5.5). With a variable slot it is an indirect jump, which costs 15 to 20 ns
//! a frame on a CPU with retpolines. The source alone does not decide this: LLVM tends to merge two calls into
//! one with a variable slot.
//!
//! Before Linux 6.0, arm64 refuses a tail call in a program that calls functions of its own (`check_helper_call` in
//! kernel/bpf/verifier.c, `allow_tail_call_in_subprogs`). Programs with tail calls therefore have everything inlined.

use anyhow::{Context as _, Result, ensure};

use super::code::{self, CALL, EXIT, Function, Instruction, class};

/// `BPF_FUNC_tail_call`.
const TAIL_CALL: i32 = 12;
/// The register with the slot.
const SLOT: u8 = 3;
/// A jump whose distance is in `imm`, and a constant moved into a register of 32 or 64 bits.
const JUMP_LONG: u8 = 0x06;
const MOVE: [u8; 2] = [0xb4, 0xb7];

/// Refuses an object with a tail call whose slot is not constant, or with none at all.
pub(super) fn check(object: &object::File<'_>) -> Result<usize> {
    let mut calls = 0;
    for code in code::sections(object)? {
        let found = constant(&code.instructions);
        calls += found.with_context(|| format!("in {} of the kernel program", code.name))?;
    }
    let sections = code::sections(object)?;
    for Function { name, section, range } in code::functions(object)? {
        let code = sections.iter().find(|code| code.index == section);
        let code = code.and_then(|code| code.instructions.get(range)).unwrap_or_default();
        alone(code).with_context(|| format!("{name} of the kernel program"))?;
    }
    ensure!(calls > 0, "the kernel program has no tail call: this check looks for the wrong thing");
    Ok(calls)
}

/// Refuses a program with a tail call that also calls a function.
fn alone(code: &[Instruction]) -> Result<()> {
    ensure!(
        !code.iter().any(is_tail_call) || !code.iter().any(Instruction::is_local_call),
        "a function is called beside a tail call: arm64 before Linux 6.0 refuses that"
    );
    Ok(())
}

/// Counts the tail calls.
///
/// Each one has to follow a move of a constant into [`SLOT`], without a jump target between the two. That
/// is stricter than the verifier, and easier to check.
fn constant(code: &[Instruction]) -> Result<usize> {
    let targets = targets(code);
    let mut calls = 0;
    for (at, _) in code.iter().enumerate().filter(|(_, it)| is_tail_call(it)) {
        // Upwards, to the instruction that last wrote the slot.
        let writes = |&place: &usize| place == 0 || may_write_slot(&code[place]);
        let from = (0..at).rev().find(writes).unwrap_or(0);
        let is_straight = !targets.iter().any(|target| (from + 1..=at).contains(target));
        let is_constant = MOVE.contains(&code[from].opcode) && code[from].destination == SLOT;
        ensure!(
            is_straight && is_constant,
            "the slot of the tail call at instruction {at} is not constant: the kernel would make an \
             indirect jump of it"
        );
        calls += 1;
    }
    Ok(calls)
}

fn is_tail_call(it: &Instruction) -> bool {
    it.opcode == CALL && it.source == 0 && it.immediate == TAIL_CALL
}

/// Calls clobber r0 to r5; other instructions count if they write their destination.
fn may_write_slot(it: &Instruction) -> bool {
    use class::{ALU, ALU64, LD, LDX, STX};
    let writes = matches!(it.class(), LD | LDX | STX | ALU | ALU64) && it.destination == SLOT;
    it.opcode == CALL || it.opcode == EXIT || writes
}

/// Targets of jumps.
fn targets(code: &[Instruction]) -> Vec<usize> {
    let target = |(at, it): (usize, &Instruction)| {
        let is_jump =
            matches!(it.class(), class::JMP | class::JMP32) && ![CALL, EXIT].contains(&it.opcode);
        let distance =
            if it.opcode == JUMP_LONG { it.immediate as isize } else { it.offset.into() };
        is_jump.then(|| (at + 1).checked_add_signed(distance)).flatten()
    };
    code.iter().enumerate().filter_map(target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn it(opcode: u8, destination: u8, offset: i16, immediate: i32) -> Instruction {
        Instruction { opcode, destination, source: 0, offset, immediate }
    }

    /// `w3 = slot`, `call 12`.
    const SLOT_0: Instruction = it(0xb4, 3, 0, 0);
    const SLOT_1: Instruction = it(0xb7, 3, 0, 1);
    const TAIL: Instruction = it(CALL, 0, 0, TAIL_CALL);
    const OTHER_CALL: Instruction = it(CALL, 0, 0, 8);
    /// `r1 = r6`, `if r0 == 0 goto +n`.
    const OTHER: Instruction = it(0xbf, 1, 0, 0);
    const fn branch(distance: i16) -> Instruction {
        it(0x15, 0, distance, 0)
    }

    #[test]
    fn constant_slots_are_accepted() {
        let two = [branch(3), OTHER, SLOT_0, TAIL, SLOT_1, OTHER, TAIL];
        assert_eq!(constant(&two).unwrap(), 2);
        assert_eq!(constant(&[OTHER_CALL, OTHER]).unwrap(), 0);
    }

    #[test]
    fn functions_beside_a_tail_call_are_refused() {
        const LOCAL: Instruction = Instruction { source: 1, ..it(CALL, 0, 0, 5) };
        alone(&[SLOT_0, TAIL, OTHER_CALL]).unwrap();
        alone(&[LOCAL, OTHER]).unwrap();
        let refused = alone(&[SLOT_0, TAIL, LOCAL]).unwrap_err().to_string();
        assert!(refused.contains("arm64"), "{refused}");
    }

    #[test]
    fn a_slot_that_depends_on_the_way_is_refused() {
        // w3 = 0; if … goto the call; w3 = 1; call
        let merged = [SLOT_0, branch(1), SLOT_1, TAIL];
        // r3 = r7; call
        let copied = [it(0xbf, 3, 0, 0), TAIL];
        // w3 = 0; another call, which clobbers it; call
        let clobbered = [SLOT_0, OTHER_CALL, TAIL];
        // r3 <<= 1
        let shifted = [SLOT_1, it(0x67, 3, 0, 1), TAIL];
        for code in [&merged[..], &copied, &clobbered, &shifted, &[TAIL]] {
            let refused = constant(code).unwrap_err().to_string();
            assert!(refused.contains("not constant"), "{refused}");
        }
    }
}
