//! Reading the opcodes from a range of the stream.

use super::MAX_STRING;
use crate::container::Stream;
use crate::error::Why;

const BUFFER_BYTES: usize = 1 << 16;

/// A position in a stream, and the end it must not pass.
pub(in crate::container) struct Bytes<'a> {
    stream: &'a mut Stream,
    position: u64,
    end: u64,
    buffer: Vec<u8>,
    buffer_start: u64,
}

impl<'a> Bytes<'a> {
    pub(in crate::container) fn new(stream: &'a mut Stream, position: u64, end: u64) -> Self {
        Self { stream, position, end, buffer: vec![], buffer_start: 0 }
    }

    pub(in crate::container) fn position(&self) -> u64 {
        self.position
    }

    /// Adds a source to the stream; returns where it starts.
    pub(in crate::container) fn append(&mut self, bytes: Vec<u8>) -> Why<u64> {
        self.stream.append(Box::new(std::io::Cursor::new(bytes)))
    }

    pub(super) fn byte(&mut self) -> Why<u8> {
        if self.position >= self.end {
            return Err(format!("the pickle is cut at byte {}", self.position));
        }
        let inside = self.position >= self.buffer_start
            && self.position < self.buffer_start + self.buffer.len() as u64;
        if !inside {
            let n = (self.end - self.position).min(BUFFER_BYTES as u64) as usize;
            self.buffer.resize(n, 0);
            self.stream.read_at(self.position, &mut self.buffer)?;
            self.buffer_start = self.position;
        }
        let byte = self.buffer[(self.position - self.buffer_start) as usize];
        self.position += 1;
        Ok(byte)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Why<[u8; N]> {
        let mut array = [0; N];
        for byte in &mut array {
            *byte = self.byte()?;
        }
        Ok(array)
    }

    /// Passes over bytes; returns where they are.
    pub(in crate::container) fn skip(&mut self, n: u64) -> Why<u64> {
        let start = self.position;
        match start.checked_add(n).filter(|end| *end <= self.end) {
            Some(end) => self.position = end,
            None => return Err(format!("{n} bytes at {start} reach past the end of the pickle")),
        }
        Ok(start)
    }

    /// Reads bytes that were passed over.
    pub(super) fn read(&mut self, start: u64, n: u64) -> Why<Vec<u8>> {
        if n > MAX_STRING {
            return Err(format!("a string of {n} bytes, at most {MAX_STRING} wanted"));
        }
        let mut bytes = vec![0; n as usize];
        self.stream.read_at(start, &mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn text(&mut self, n: u64) -> Why<String> {
        let start = self.skip(n)?;
        String::from_utf8(self.read(start, n)?)
            .map_err(|_| format!("the string at byte {start} is not UTF-8"))
    }

    /// The rest of the line.
    pub(super) fn line(&mut self) -> Why<String> {
        let mut line = vec![];
        loop {
            match self.byte()? {
                b'\n' => break,
                byte if line.len() < 4096 => line.push(byte),
                _ => return Err(format!("a line of more than 4096 bytes at {}", self.position)),
            }
        }
        String::from_utf8(line).map_err(|_| format!("the line before byte {} is not UTF-8", self.position))
    }

    /// A little-endian number of eight bytes.
    pub(in crate::container) fn u64(&mut self) -> Why<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }
}
