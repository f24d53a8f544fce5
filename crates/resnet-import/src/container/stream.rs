//! The bytes of a container: one or more sources read as one.

use std::fmt;
use std::io::{Read, Seek, SeekFrom};

use crate::error::Why;

/// Anything a container can be read from.
pub(crate) trait Source: Read + Seek {}
impl<T: Read + Seek> Source for T {}

struct Part {
    source: Box<dyn Source + Send>,
    start: u64,
    len: u64,
}

/// Sources laid end to end, read by position.
pub(crate) struct Stream {
    parts: Vec<Part>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({} bytes)", self.len())
    }
}

impl Stream {
    pub(crate) fn new(source: Box<dyn Source + Send>) -> Why<Self> {
        let mut stream = Self { parts: vec![] };
        stream.append(source)?;
        Ok(stream)
    }

    /// Adds a source after all others; returns where it starts.
    pub(crate) fn append(&mut self, mut source: Box<dyn Source + Send>) -> Why<u64> {
        let len = source.seek(SeekFrom::End(0)).map_err(|e| format!("cannot find its length: {e}"))?;
        let start = self.len();
        self.parts.push(Part { source, start, len });
        Ok(start)
    }

    pub(crate) fn len(&self) -> u64 {
        self.parts.last().map_or(0, |p| p.start + p.len)
    }

    /// The first bytes, at most `n`.
    pub(crate) fn head(&mut self, n: usize) -> Why<Vec<u8>> {
        let mut head = vec![0; n.min(self.len() as usize)];
        self.read_at(0, &mut head)?;
        Ok(head)
    }

    /// Fills `buffer` from a position.
    pub(crate) fn read_at(&mut self, mut position: u64, mut buffer: &mut [u8]) -> Why<()> {
        while !buffer.is_empty() {
            let inside = |p: &&mut Part| position >= p.start && position < p.start + p.len;
            let Some(part) = self.parts.iter_mut().find(inside) else {
                return Err(format!("the file ends before byte {}", position + buffer.len() as u64));
            };
            let at = position - part.start;
            let n = (part.len - at).min(buffer.len() as u64) as usize;
            let (now, later) = buffer.split_at_mut(n);
            let read = part.source.seek(SeekFrom::Start(at)).and_then(|_| part.source.read_exact(now));
            read.map_err(|e| format!("reading at byte {position} failed: {e}"))?;
            position += n as u64;
            buffer = later;
        }
        Ok(())
    }

    /// The first source, for readers that seek by themselves.
    pub(crate) fn first(&mut self) -> Why<&mut dyn Source> {
        match self.parts.first_mut() {
            Some(part) => Ok(part.source.as_mut()),
            None => Err("there is no file".into()),
        }
    }
}
