//! The copy list: how a layer's tar is put together, bit for bit.
//!
//! A sequence of instructions, each led by a varint `n << 1 | kind`: kind 0, `n` literal bytes
//! follow; kind 1, `n` bytes are copied from pack `p` at offset `o`, both following as varints.
//! Varints are little-endian groups of seven bits and minimal: one spelling for a number. The
//! list ends where the sum of all `n` reaches the layer's size, and there the stream must end.

use std::io::{self, BufRead};

use crate::error::{Error, Result};

/// One step in putting a layer together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// This many bytes follow in the copy list itself; at least one, at most [`LITERAL_LIMIT`].
    Literal(u32),
    /// Bytes of a pack.
    Copy {
        /// how many, at least one
        bytes: u32,
        /// the pack's number
        pack: u32,
        /// where in the pack, before compression
        offset: u32,
    },
}

/// The longest literal, bytes.
pub const LITERAL_LIMIT: u32 = 64 << 10;

/// Appends `value` as a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends an instruction; a literal's bytes are the caller's to append.
pub fn put(out: &mut Vec<u8>, instruction: Instruction) {
    match instruction {
        Instruction::Literal(n) => put_varint(out, u64::from(n) << 1),
        Instruction::Copy { bytes, pack, offset } => {
            put_varint(out, u64::from(bytes) << 1 | 1);
            put_varint(out, u64::from(pack));
            put_varint(out, u64::from(offset));
        }
    }
}

/// Reads a minimal varint of at most 64 bits.
pub fn get_varint(input: &mut impl BufRead) -> Result<u64> {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let mut byte = [0];
        input.read_exact(&mut byte).map_err(broken)?;
        let bits = u64::from(byte[0] & 0x7f);
        let last = byte[0] & 0x80 == 0;
        if shift > 63 || shift == 63 && bits > 1 || last && bits == 0 && shift > 0 {
            break;
        }
        value |= bits << shift;
        if last {
            return Ok(value);
        }
    }
    Err(malformed("a number in it is not minimal or too large"))
}

/// Reads the next instruction. Sizes beyond 32 bits, empty and oversized ones are refused here;
/// whether a copy lies within its pack is for the caller, who knows the packs.
pub fn get(input: &mut impl BufRead) -> Result<Instruction> {
    let narrow = |value: u64| u32::try_from(value).map_err(|_| malformed("a number is too large"));
    let head = get_varint(input)?;
    let bytes = narrow(head >> 1)?;
    if bytes == 0 {
        return Err(malformed("an instruction in it does nothing"));
    }
    if head & 1 == 1 {
        let pack = narrow(get_varint(input)?)?;
        let offset = narrow(get_varint(input)?)?;
        return Ok(Instruction::Copy { bytes, pack, offset });
    }
    if bytes > LITERAL_LIMIT {
        return Err(malformed("a literal in it is too long"));
    }
    Ok(Instruction::Literal(bytes))
}

/// A copy list that breaks a rule of the format.
pub fn malformed(why: &str) -> Error {
    Error::refused(format!("the copy list is malformed: {why}"))
        .remedy("pack the bundle again: this one was not written by a correct packer")
}

fn broken(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return malformed("it ends too early");
    }
    Error::from_io(error, "cannot read the copy list")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn instructions_go_both_ways(bytes in 1u32.., pack: u32, offset: u32, literal in 1..=LITERAL_LIMIT) {
            for instruction in [Instruction::Copy { bytes, pack, offset }, Instruction::Literal(literal)] {
                let mut out = Vec::new();
                put(&mut out, instruction);
                let mut rest = &out[..];
                prop_assert_eq!(get(&mut rest).unwrap(), instruction);
                prop_assert!(rest.is_empty());
            }
        }

        #[test]
        fn one_spelling_for_a_number(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut rest = &bytes[..];
            if let Ok(value) = get_varint(&mut rest) {
                let mut again = Vec::new();
                put_varint(&mut again, value);
                prop_assert_eq!(&again[..], &bytes[..bytes.len() - rest.len()]);
            }
        }
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        let list = |numbers: &[u64]| {
            let mut out = Vec::new();
            for &n in numbers {
                put_varint(&mut out, n);
            }
            get(&mut &out[..]).unwrap_err().to_string()
        };
        assert!(list(&[0]).contains("does nothing"));
        assert!(list(&[u64::from(LITERAL_LIMIT + 1) << 1]).contains("too long"));
        assert!(list(&[3, u64::MAX, 0]).contains("too large"));
        assert!(list(&[3]).contains("too early"));
        assert!(get_varint(&mut &[0x80, 0x00][..]).is_err());
        assert!(get_varint(&mut &[0xff; 11][..]).is_err());
    }
}
