//! Instructions of the kernel object, as RFC 9669 encodes them, and its functions.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use object::{
    File, Object as _, ObjectSection as _, ObjectSymbol as _, Section, SectionIndex, SectionKind,
    SymbolKind,
};

/// Classes of instructions (section 3.1).
pub(super) mod class {
    pub(crate) const LD: u8 = 0x00;
    pub(crate) const LDX: u8 = 0x01;
    pub(crate) const ST: u8 = 0x02;
    pub(crate) const STX: u8 = 0x03;
    pub(crate) const ALU: u8 = 0x04;
    pub(crate) const JMP: u8 = 0x05;
    pub(crate) const JMP32: u8 = 0x06;
    pub(crate) const ALU64: u8 = 0x07;
}

pub(super) const CALL: u8 = 0x85;
pub(super) const EXIT: u8 = 0x95;
/// The source of a call of another function of the program.
const LOCAL: u8 = 1;

/// One instruction, 8 bytes in the object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instruction {
    pub(super) opcode: u8,
    pub(super) destination: u8,
    pub(super) source: u8,
    pub(super) offset: i16,
    pub(super) immediate: i32,
}

impl Instruction {
    pub(super) fn class(&self) -> u8 {
        self.opcode & 0x07
    }

    /// Whether it calls another function of the program.
    pub(super) fn is_local_call(&self) -> bool {
        self.opcode == CALL && self.source == LOCAL
    }
}

/// A section with instructions.
pub(super) struct Code<'o> {
    pub(super) name: &'o str,
    pub(super) index: SectionIndex,
    pub(super) instructions: Vec<Instruction>,
    /// Targets of relocations: section and offset in bytes, by number of the instruction.
    relocated: BTreeMap<usize, (SectionIndex, u64)>,
}

impl Code<'_> {
    /// Section and number of the instruction that a local call targets.
    pub(super) fn target(&self, at: usize) -> Option<(SectionIndex, usize)> {
        let call = self.instructions.get(at).filter(|it| it.is_local_call())?;
        let distance = call.immediate as isize;
        let (section, from) = match self.relocated.get(&at) {
            Some((section, offset)) => (*section, (*offset / 8) as usize),
            None => (self.index, at),
        };
        Some((section, (from + 1).checked_add_signed(distance)?))
    }
}

/// A function of the object.
#[derive(Clone, Debug)]
pub(super) struct Function<'o> {
    pub(super) name: &'o str,
    pub(super) section: SectionIndex,
    /// Its instructions in the section.
    pub(super) range: std::ops::Range<usize>,
}

/// Every section with instructions.
pub(super) fn sections<'o>(file: &'o File<'_>) -> Result<Vec<Code<'o>>> {
    let text = file.sections().filter(|section| section.kind() == SectionKind::Text);
    text.map(|section| code(file, &section)).collect()
}

fn code<'o>(file: &'o File<'_>, section: &Section<'o, 'o>) -> Result<Code<'o>> {
    let mut relocated = BTreeMap::new();
    for (offset, relocation) in section.relocations() {
        let object::RelocationTarget::Symbol(symbol) = relocation.target() else { continue };
        let symbol = file.symbol_by_index(symbol)?;
        if let Some(index) = symbol.section_index() {
            relocated.insert((offset / 8) as usize, (index, symbol.address()));
        }
    }
    let instructions = decode(section.data()?);
    Ok(Code { name: section.name()?, index: section.index(), instructions, relocated })
}

/// Every function.
pub(super) fn functions<'o>(file: &'o File<'_>) -> Result<Vec<Function<'o>>> {
    let text = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text);
    text.map(|symbol| {
        let section = symbol.section_index().context("a function without a section")?;
        let first = (symbol.address() / 8) as usize;
        let range = first..first + (symbol.size() / 8) as usize;
        Ok(Function { name: symbol.name()?, section, range })
    })
    .collect()
}

fn decode(bytes: &[u8]) -> Vec<Instruction> {
    let instruction = |bytes: &[u8; 8]| Instruction {
        opcode: bytes[0],
        destination: bytes[1] & 0x0f,
        source: bytes[1] >> 4,
        offset: i16::from_le_bytes([bytes[2], bytes[3]]),
        immediate: i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    };
    bytes.as_chunks().0.iter().map(instruction).collect()
}
