//! The fields of a message, one after the other.

use crate::engine::fuzz::messages::u64_at;
use crate::wire::{HEADER, u16_at, u32_at};

pub struct Fields<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// Begins behind the header.
    pub fn of(message: &'a [u8]) -> Fields<'a> {
        Fields { message, at: HEADER }
    }

    pub fn u8(&mut self) -> u8 {
        self.at += 1;
        self.message[self.at - 1]
    }

    pub fn u16(&mut self) -> u16 {
        self.at += 2;
        u16_at(self.message, self.at - 2)
    }

    pub fn u32(&mut self) -> u32 {
        self.at += 4;
        u32_at(self.message, self.at - 4)
    }

    pub fn u64(&mut self) -> u64 {
        self.at += 8;
        u64_at(self.message, self.at - 8)
    }

    pub fn str(&mut self) -> &'a str {
        let length = self.u16() as usize;
        let bytes = &self.message[self.at..][..length];
        self.at += length;
        std::str::from_utf8(bytes).expect("UTF-8")
    }

    pub fn skip(&mut self, n: usize) {
        self.at += n;
    }

    pub fn rest(&self) -> &'a [u8] {
        &self.message[self.at..]
    }
}
