//! T-messages as they are written, and R-messages as they are read.

use super::Error;
use crate::wire::{HEADER, kind, types};

/// Writes the body of a T-message field by field.
pub struct Writer {
    bytes: Vec<u8>,
    is_too_long: bool,
}

impl Writer {
    pub fn new(kind: u8) -> Writer {
        Writer { bytes: vec![0, 0, 0, 0, kind, 0xff, 0xff], is_too_long: false }
    }

    pub fn u8(mut self, value: u8) -> Writer {
        self.bytes.push(value);
        self
    }

    pub fn u16(mut self, value: u16) -> Writer {
        self.bytes.extend(value.to_le_bytes());
        self
    }

    pub fn u32(mut self, value: u32) -> Writer {
        self.bytes.extend(value.to_le_bytes());
        self
    }

    pub fn u64(mut self, value: u64) -> Writer {
        self.bytes.extend(value.to_le_bytes());
        self
    }

    pub fn string(mut self, text: &str) -> Writer {
        let length = u16::try_from(text.len());
        self.is_too_long |= length.is_err();
        self = self.u16(length.unwrap_or(0));
        self.bytes.extend(text.bytes());
        self
    }

    /// Writes a count of four bytes, and as many bytes.
    pub fn data(mut self, data: &[u8]) -> Writer {
        self.is_too_long |= u32::try_from(data.len()).is_err();
        self = self.u32(data.len() as u32);
        self.bytes.extend(data);
        self
    }

    /// Returns the message, with its size.
    pub fn finish(mut self, msize: u32) -> Result<Vec<u8>, Error> {
        if self.is_too_long || self.bytes.len() > msize as usize {
            return Err(Error::TooLong);
        }
        let size = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&size.to_le_bytes());
        Ok(self.bytes)
    }
}

/// Reads the body of an R-message field by field.
pub struct Reader<'a>(&'a [u8]);

const SHORT: Error = Error::Protocol("it is too short");

impl<'a> Reader<'a> {
    /// Returns the body of a reply to a request of the type `request`.
    ///
    /// # Errors
    /// [`Error::Refused`] if the reply is an Rerror.
    pub fn new(request: u8, reply: &'a [u8]) -> Result<Reader<'a>, Error> {
        let body = Reader(reply.get(HEADER..).ok_or(SHORT)?);
        match kind(reply) {
            reply if reply == request + 1 => Ok(body),
            types::RERROR => Err(Error::Refused({ body }.string()?)),
            _ => Err(Error::Protocol("it belongs to another request")),
        }
    }

    /// Returns a reader of some bytes without a header.
    pub fn over(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(SHORT)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.bytes(N)?.try_into().map_err(|_| SHORT)
    }

    pub fn u8(&mut self) -> Result<u8, Error> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub fn u16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn string(&mut self) -> Result<String, Error> {
        let length = self.u16()?.into();
        Ok(String::from_utf8_lossy(self.bytes(length)?).into_owned())
    }

    /// Reads a count of four bytes, and returns as many bytes.
    pub fn data(&mut self) -> Result<&'a [u8], Error> {
        let length = self.u32()? as usize;
        self.bytes(length)
    }
}
