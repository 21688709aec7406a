//! A check of the object: only jumps lead back into a loop.
//!
//! `check_cfg` (kernel/bpf/verifier.c) walks each program depth first and lets only jumps lead back to an
//! instruction that it has not left yet. If LLVM places the end of a loop in front of its head, the last
//! instruction falls through into it, and Linux up to 6.1 refuses the program ("back-edge from insn"). LLVM
//! chooses the layout, so any change of the code may cause this.

use anyhow::{Context as _, Result, ensure};

use super::code::{self, CALL, EXIT, Function, Instruction, class};

/// A 64-bit constant: two instructions in the object.
const WIDE: u8 = 0x18;
/// A jump without a condition.
const JUMP: u8 = 0x05;

/// Refuses an object that an older kernel would refuse; returns the number of functions walked.
pub(super) fn check(object: &object::File<'_>) -> Result<usize> {
    let sections = code::sections(object)?;
    let functions = code::functions(object)?;
    ensure!(!functions.is_empty(), "the kernel program has no functions: this check sees nothing");
    for Function { name, section, range } in &functions {
        let code = sections.iter().find(|code| code.index == *section);
        let code = code.context("its section has no code")?;
        let own = code.instructions.get(range.clone()).context("it is beyond its section")?;
        if let Some(at) = back_edge(own) {
            let (from, section) = (range.start + at, code.name);
            anyhow::bail!(
                "{name}: instruction {from} of {section} falls through into the head of a loop: Linux up to 6.1 \
                 refuses that; unroll the loop or write it otherwise"
            );
        }
    }
    Ok(functions.len())
}

/// The successors of an instruction, in the kernel's order, and whether each may lead back.
fn edges(code: &[Instruction], at: usize) -> Vec<(usize, bool)> {
    let Some(it) = code.get(at) else { return Vec::new() };
    let target = (at + 1).checked_add_signed(it.offset.into());
    match it.opcode {
        EXIT => Vec::new(),
        WIDE => vec![(at + 2, false)],
        CALL => vec![(at + 1, false)],
        JUMP => target.map(|to| (to, true)).into_iter().collect(),
        _ if matches!(it.class(), class::JMP | class::JMP32) => {
            std::iter::once(at + 1).chain(target).map(|to| (to, true)).collect()
        }
        _ => vec![(at + 1, false)],
    }
}

/// The first instruction that leads back without being a jump.
fn back_edge(code: &[Instruction]) -> Option<usize> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Left,
    }
    let mut states = vec![State::New; code.len()];
    *states.first_mut()? = State::Open;
    let mut open = vec![(0, edges(code, 0).into_iter())];
    while let Some((at, behind)) = open.last_mut() {
        let at = *at;
        let Some((to, may_lead_back)) = behind.next() else {
            states[at] = State::Left;
            open.pop();
            continue;
        };
        match states.get(to) {
            Some(State::New) => {
                states[to] = State::Open;
                open.push((to, edges(code, to).into_iter()));
            }
            Some(State::Open) if !may_lead_back => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn it(opcode: u8, offset: i16) -> Instruction {
        Instruction { opcode, destination: 1, source: 0, offset, immediate: 1 }
    }

    /// `r1 += 1` and `if r1 != 1 goto`.
    const ADD: u8 = 0x07;
    const UNLESS: u8 = 0x55;

    #[test]
    fn a_loop_ends_with_its_jump() {
        let exit = it(EXIT, 0);
        // 1: head; 2: leads back.
        assert_eq!(back_edge(&[it(ADD, 0), it(ADD, 0), it(UNLESS, -2), exit]), None);
        // The end of the loop (1) stands in front of its head (2), which is entered by a jump.
        let turned = [it(JUMP, 1), it(ADD, 0), it(ADD, 0), it(UNLESS, -3), exit];
        assert_eq!(back_edge(&turned), Some(1));
        // So does a call.
        assert_eq!(
            back_edge(&[it(JUMP, 1), it(CALL, 0), it(ADD, 0), it(UNLESS, -3), exit]),
            Some(1)
        );
        // A wide constant is one instruction.
        assert_eq!(back_edge(&[it(WIDE, 0), it(0, 0), it(ADD, 0), exit]), None);
        assert_eq!(back_edge(&[]), None);
    }
}
