//! A check of the object: the stack of each chain of calls.
//!
//! The verifier allows 512 bytes for a chain (`check_max_stack_depth` in kernel/bpf/verifier.c) and rounds
//! each frame up: to 32 bytes before Linux 6.8, to 16 since then if the program is compiled. A frame that
//! grows by a spill may be refused only by older kernels, which no test on a newer one notices.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use object::SectionIndex;

use super::code::{self, Code, Function, Instruction, class};

/// Bytes of a chain, and the unit that a frame is rounded up to.
pub(super) const LIMIT: usize = 512;
const ROUND: usize = 32;
/// The register with the frame's address.
const FRAME: u8 = 10;
/// `rX = rY` and `rX += constant`, 64 bits.
const MOVE: u8 = 0xbf;
const ADD: u8 = 0x07;

/// Refuses an object with a chain that a kernel would refuse; returns the deepest one, in bytes.
pub(super) fn check(object: &object::File<'_>) -> Result<usize> {
    let sections = code::sections(object)?;
    let functions = code::functions(object)?;
    ensure!(!functions.is_empty(), "the kernel program has no functions: this check sees nothing");
    let mut deepest = 0;
    let mut chain = Vec::new();
    for function in &functions {
        let (depth, frames) = depth(&sections, &functions, function, &mut chain)
            .with_context(|| format!("in {}", function.name))?;
        deepest = deepest.max(depth);
        ensure!(
            depth <= LIMIT,
            "{} and what it calls take {depth} bytes of stack, each frame rounded up to {ROUND}: Linux \
             before 6.8 allows {LIMIT} ({})",
            function.name,
            frames.join(", ")
        );
    }
    Ok(deepest)
}

/// Size of a function's frame and of the deepest chain that starts there, with the chain's frames.
fn depth<'o>(
    sections: &[Code<'_>],
    functions: &'o [Function<'o>],
    function: &'o Function<'o>,
    chain: &mut Vec<&'o str>,
) -> Result<(usize, Vec<String>)> {
    ensure!(!chain.contains(&function.name), "{} calls itself", function.name);
    let code = sections.iter().find(|code| code.index == function.section);
    let code = code.context("its section has no code")?;
    let own = code.instructions.get(function.range.clone()).context("it is beyond its section")?;
    chain.push(function.name);
    let mut below = (0, Vec::new());
    for at in function.range.clone().filter(|at| code.instructions[*at].is_local_call()) {
        let target = code.target(at).context("a call leads nowhere")?;
        let called = at_place(functions, target)
            .with_context(|| format!("the call at {at} leads to no function"))?;
        let other = depth(sections, functions, called, chain)?;
        if other.0 > below.0 {
            below = other;
        }
    }
    chain.pop();
    let (mut sum, mut frames) = below;
    sum += frame(own).max(1).next_multiple_of(ROUND);
    frames.insert(0, format!("{} {}", function.name, frame(own)));
    Ok((sum, frames))
}

fn at_place<'o>(
    functions: &'o [Function<'o>],
    (section, at): (SectionIndex, usize),
) -> Option<&'o Function<'o>> {
    functions.iter().find(|function| function.section == section && function.range.start == at)
}

/// Size of a frame: the lowest offset below its address that is read, written, or has its address taken.
fn frame(code: &[Instruction]) -> usize {
    let mut lowest = 0i32;
    // Copies of the frame's address, as far as straight-line code shows.
    let mut copies: BTreeMap<u8, i32> = BTreeMap::new();
    for it in code {
        let (reads, writes) = match it.class() {
            class::LDX => (Some(it.source), None),
            class::ST | class::STX => (None, Some(it.destination)),
            _ => (None, None),
        };
        let place = |register: u8| match register {
            FRAME => Some(0),
            other => copies.get(&other).copied(),
        };
        if let Some(base) = reads.or(writes).and_then(place) {
            lowest = lowest.min(base + i32::from(it.offset));
        }
        let moved = place(it.source);
        match it.opcode {
            MOVE if moved.is_some() => copies.extend(moved.map(|base| (it.destination, base))),
            ADD => {
                if let Some(base) = copies.get_mut(&it.destination) {
                    *base += it.immediate;
                    lowest = lowest.min(*base);
                }
            }
            code::CALL => copies.retain(|register, _| *register > 5),
            _ if matches!(it.class(), class::LD | class::LDX | class::ALU | class::ALU64) => {
                copies.remove(&it.destination);
            }
            _ => {}
        }
    }
    lowest.unsigned_abs() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn it(
        opcode: u8,
        destination: u8,
        source: u8,
        offset: i16,
        immediate: i32,
    ) -> Instruction {
        Instruction { opcode, destination, source, offset, immediate }
    }

    #[test]
    fn a_frame_reaches_to_its_lowest_place() {
        // *(u64 *)(r10 - 8) = r1; r2 = r10; r2 += -24; *(u32 *)(r2 + 4) = r1
        let stored = [it(0x7b, 10, 1, -8, 0), it(MOVE, 2, 10, 0, 0), it(ADD, 2, 0, 0, -24)];
        assert_eq!(frame(&stored[..1]), 8);
        assert_eq!(frame(&stored), 24);
        let below = [stored[1], stored[2], it(0x63, 2, 1, -16, 0)];
        assert_eq!(frame(&below), 40);
        // After a call r2 has a different value, and also after any other assignment.
        let call = it(code::CALL, 0, 0, 0, 1);
        assert_eq!(frame(&[stored[1], call, it(ADD, 2, 0, 0, -500)]), 0);
        assert_eq!(frame(&[stored[1], it(MOVE, 2, 3, 0, 0), it(ADD, 2, 0, 0, -500)]), 0);
        assert_eq!(frame(&[]), 0);
    }
}
