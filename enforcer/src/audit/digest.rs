//! A line of JSON that carries its own SHA-256, as its last field.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

const FIELD: &str = ",\"digest\":\"";
/// Hexadecimal digits of a SHA-256.
pub const HEX: usize = 64;

/// SHA-256 in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The line of an object that has at least one field, without a newline: the object with a field
/// `digest` at its end, the SHA-256 of all bytes before that field.
///
/// # Errors
///
/// The object cannot be represented in JSON.
pub fn with_digest(object: &impl Serialize) -> serde_json::Result<String> {
    let mut line = serde_json::to_string(object)?;
    line.pop();
    let digest = sha256(line.as_bytes());
    line.push_str(&format!("{FIELD}{digest}\"}}"));
    Ok(line)
}

/// The object of a line made by [`with_digest`]; `None` if a byte of it was changed.
pub fn verify_digest(line: &[u8]) -> Option<String> {
    let body = line.strip_suffix(b"\"}")?;
    let (body, digest) = body.split_at_checked(body.len().checked_sub(HEX)?)?;
    let body = body.strip_suffix(FIELD.as_bytes())?;
    if digest != sha256(body).as_bytes() {
        return None;
    }
    Some(format!("{}}}", std::str::from_utf8(body).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_line_opens_and_a_changed_one_does_not() {
        let line = with_digest(&serde_json::json!({"a": 1, "b": "x"})).unwrap();
        assert_eq!(verify_digest(line.as_bytes()).unwrap(), "{\"a\":1,\"b\":\"x\"}");
        for at in 0..line.len() {
            assert_eq!(verify_digest(&line.as_bytes()[..at]), None, "cut at {at}");
            for bit in 0..8 {
                let mut bad = line.clone().into_bytes();
                bad[at] ^= 1 << bit;
                assert_eq!(verify_digest(&bad), None, "bit {bit} flipped at {at}");
            }
        }
    }

    #[test]
    fn sha256_is_what_others_compute() {
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), expected);
    }
}
