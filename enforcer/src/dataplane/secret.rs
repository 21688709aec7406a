//! The secret of this boot, from which the program derives digests and slots.
//!
//! It is made with the tables and lives as long as they do, in the kernel table that also holds the clock
//! offsets and that only root can read. All generations have the same keys, because they share the tables.

use std::io;
use std::mem::offset_of;
use std::os::fd::AsFd as _;

use aya::Ebpf;
use aya::maps::MapData;
use enforcer_common::abi::{self, map};
use enforcer_common::keyed::Keys;
use sha2::{Digest as _, Sha256};

use super::Error;
use super::memory::Memory;
use super::pins::Pins;

/// 64-bit words of [`abi::Control`] from which on the secret is there.
const FIRST: usize = offset_of!(abi::Control, secret) / 8;

/// The secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Secret([u64; 2]);

impl Secret {
    /// The secret in the kernel, or a new one.
    pub(super) fn find(pins: &Pins) -> Result<Self, Error> {
        let path = pins.path(map::CONTROL);
        if path.exists() {
            let data = MapData::from_pin(&path).map_err(Error::Map)?;
            let memory = Memory::map(data.fd().as_fd(), size_of::<abi::Control>())
                .map_err(|e| Error::io("map the memory of", &path, e))?;
            let words = [memory.read(FIRST), memory.read(FIRST + 1)];
            if words != [0; 2] {
                return Ok(Self(words));
            }
        }
        pair().map(Self).map_err(|e| Error::io("ask for random numbers for", &path, e))
    }

    /// Keeps it in the kernel.
    pub(super) fn keep(self, ebpf: &Ebpf, pins: &Pins) -> Result<(), Error> {
        let memory = Memory::of(ebpf, map::CONTROL, size_of::<abi::Control>(), pins)?;
        for (word, number) in (FIRST..).zip(self.0) {
            memory.publish(word, number);
        }
        Ok(())
    }

    /// The keys of digests and slots.
    pub(super) fn keys(self) -> Keys {
        Keys(std::array::from_fn(|number| {
            let mut hash = Sha256::new();
            self.0.iter().for_each(|word| hash.update(word.to_le_bytes()));
            hash.update([number as u8]);
            let mut key = [0; size_of::<u64>()];
            key.iter_mut().zip(hash.finalize()).for_each(|(byte, hashed)| *byte = hashed);
            u64::from_le_bytes(key)
        }))
    }

    /// The same as the bytes of the program's constant.
    pub(super) fn constant(self) -> Vec<u8> {
        self.keys().0.iter().flat_map(|key| key.to_ne_bytes()).collect()
    }
}

/// Random words.
fn pair() -> io::Result<[u64; 2]> {
    Ok([random()?, random()?])
}

/// A random word, not zero.
pub(super) fn random() -> io::Result<u64> {
    let mut word = 0u64;
    while word == 0 {
        // SAFETY: the kernel writes at most the size of the word.
        let read = unsafe { libc::getrandom((&raw mut word).cast(), size_of_val(&word), 0) };
        if read < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_depend_on_each_word_of_the_secret() {
        let keys = [[1, 2], [1, 3], [2, 2]].map(|words| Secret(words).keys());
        assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[0] == Secret([1, 2]).keys());
        assert_ne!(random().unwrap(), random().unwrap());
    }
}
