//! Writing protocol buffers: tags, varints and lengths. Source: *Protocol Buffers Encoding*, developers.google.com.

/// A message under construction.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// A whole number.
    pub(super) fn int(mut self, field: u32, value: i64) -> Self {
        self.tag(field, 0);
        self.varint(value as u64); // negative numbers take ten bytes, as the encoding wants
        self
    }

    /// Whole numbers, one entry each.
    pub(super) fn ints(self, field: u32, values: impl IntoIterator<Item = i64>) -> Self {
        values.into_iter().fold(self, |message, value| message.int(field, value))
    }

    /// A number of four bytes.
    pub(super) fn float(mut self, field: u32, value: f32) -> Self {
        self.tag(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Text.
    pub(super) fn text(self, field: u32, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    /// Bytes.
    pub(super) fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.tag(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    /// f32 values as their bytes.
    pub(super) fn floats(mut self, field: u32, values: &[f32]) -> Self {
        self.tag(field, 2);
        self.varint(4 * values.len() as u64);
        self.0.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        self
    }

    /// A message inside.
    pub(super) fn message(self, field: u32, inner: &Message) -> Self {
        self.bytes(field, &inner.0)
    }

    /// The encoded message.
    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn tag(&mut self, field: u32, wire: u32) {
        self.varint(u64::from(field << 3 | wire));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::Message;

    /// The two examples of the encoding's description, and a negative number.
    #[test]
    fn encodes_as_described() {
        assert_eq!(Message::default().int(1, 150).finish(), [0x08, 0x96, 0x01]);
        assert_eq!(Message::default().text(2, "testing").finish(), b"\x12\x07testing");
        assert_eq!(
            Message::default().message(3, &Message::default().int(1, 150)).finish(),
            [0x1a, 3, 8, 0x96, 1]
        );
        assert_eq!(Message::default().int(1, -1).finish().len(), 11);
    }
}
