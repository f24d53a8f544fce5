//! The stack machine: one opcode at a time.

use std::collections::HashMap;

use super::bytes::Bytes;
use super::callables;
use super::value::{Heap, Value};
use super::{MAX_STACK, MAX_VALUES};
use crate::error::Why;

/// Runs one pickle. The heap outlives it, since its result is a handle into the heap.
pub(in crate::container) struct Machine<'a, 'b> {
    pub(super) bytes: &'a mut Bytes<'b>,
    pub(super) heap: &'a mut Heap,
    stack: Vec<Value>,
    memo: HashMap<u32, Value>,
}

impl<'a, 'b> Machine<'a, 'b> {
    pub(in crate::container) fn new(bytes: &'a mut Bytes<'b>, heap: &'a mut Heap) -> Self {
        Self { bytes, heap, stack: vec![], memo: HashMap::new() }
    }

    /// Reads up to and including the end of the pickle; its result.
    pub(in crate::container) fn run(mut self) -> Why<Value> {
        loop {
            let at = self.bytes.position();
            let op = self.bytes.byte()?;
            if op == b'.' {
                return self.pop();
            }
            self.step(op).map_err(|why| format!("{why} (opcode {:?} at byte {at})", char::from(op)))?;
        }
    }

    fn step(&mut self, op: u8) -> Why<()> {
        match op {
            0x80 => match self.bytes.byte()? {
                0..=5 => Ok(()),
                other => Err(format!("protocol {other}, at most 5 wanted")),
            },
            0x95 => self.bytes.u64().map(drop), // a frame says how far to read ahead
            b'(' => self.push(Value::Mark),
            b'0' => self.pop().map(drop),
            b'1' => self.group().map(drop),
            b'2' => {
                let top = self.top()?;
                self.push(top)
            }
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'J' => {
                let n = i32::from_le_bytes(self.bytes.array()?);
                self.push(Value::Int(n.into()))
            }
            b'K' | b'M' | 0x8a | 0x8b => self.whole_number(op),
            b'I' | b'L' | b'F' | b'G' => self.number(op),
            b'X' | 0x8c | 0x8d | b'U' | b'T' | b'V' => self.string(op),
            b'B' | b'C' | 0x8e | 0x96 => {
                let len = self.length(op)?;
                let start = self.bytes.skip(len)?;
                self.push(Value::Bytes { start, len })
            }
            b')' => self.push_tuple(vec![]),
            b't' => {
                let items = self.group()?;
                self.push_tuple(items)
            }
            0x85..=0x87 => {
                let items = self.pop_n(usize::from(op - 0x84))?;
                self.push_tuple(items)
            }
            b']' | b'l' => {
                let items = if op == b'l' { self.group()? } else { vec![] };
                let list = self.heap.list(items)?;
                self.push(list)
            }
            b'}' => {
                let dict = self.heap.dict()?;
                self.push(dict)
            }
            b'd' => {
                let items = self.group()?;
                let dict = self.heap.dict()?;
                self.push(dict)?;
                self.set_items(&items)
            }
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])
            }
            b'e' | 0x90 => {
                let items = self.group()?;
                self.append(&items)
            }
            b's' => {
                let pair = self.pop_n(2)?;
                self.set_items(&pair)
            }
            b'u' => {
                let items = self.group()?;
                self.set_items(&items)
            }
            0x8f => self.push(Value::Inert), // an empty set
            0x91 => {
                self.group()?; // a frozen set
                self.push(Value::Inert)
            }
            b'p' | b'q' | b'r' | 0x94 => self.remember(op),
            b'g' | b'h' | b'j' => {
                let index = self.memo_index(op, b'g', b'h')?;
                match self.memo.get(&index) {
                    Some(value) => self.push(*value),
                    None => Err(format!("nothing was remembered as {index}")),
                }
            }
            b'c' => {
                let (module, name) = (self.bytes.line()?, self.bytes.line()?);
                self.push(callables::known(&module, &name)?)
            }
            0x93 => {
                let pair = self.pop_n(2)?;
                let names = (self.heap.text(pair[0]), self.heap.text(pair[1]));
                let (Some(module), Some(name)) = names else { return Err("a name that is no string".into()) };
                let known = callables::known(module, name)?;
                self.push(known)
            }
            b'R' | 0x81 => {
                let pair = self.pop_n(2)?;
                self.call(pair[0], pair[1])
            }
            0x92 => {
                let three = self.pop_n(3)?; // the third holds keyword arguments, which none of the known callables takes
                self.call(three[0], three[1])
            }
            b'b' => {
                let state = self.pop()?;
                let object = self.top()?;
                callables::set_state(self, object, state)
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = callables::storage(self.heap, id)?;
                self.push(storage)
            }
            other => Err(format!("opcode 0x{other:02x} is not one that weights need")),
        }
    }

    fn call(&mut self, callable: Value, args: Value) -> Why<()> {
        let result = match callable {
            Value::Known(kind) => callables::call(self, kind, args)?,
            // What an inert object makes is inert.
            Value::Inert => Value::Inert,
            other => return Err(format!("{} is called", self.heap.describe(other))),
        };
        self.push(result)
    }

    fn whole_number(&mut self, op: u8) -> Why<()> {
        let n_bytes = match op {
            b'K' => return self.bytes.byte().and_then(|n| self.push(Value::Int(n.into()))),
            b'M' => {
                let n = u16::from_le_bytes(self.bytes.array()?);
                return self.push(Value::Int(n.into()));
            }
            0x8a => u64::from(self.bytes.byte()?),
            _ => u64::from(u32::from_le_bytes(self.bytes.array()?)),
        };
        if n_bytes > 255 {
            return Err(format!("a whole number of {n_bytes} bytes"));
        }
        let start = self.bytes.skip(n_bytes)?;
        let digits = self.bytes.read(start, n_bytes)?;
        let negative = digits.last().is_some_and(|b| b & 0x80 != 0);
        let mut low = [if negative { 0xff } else { 0 }; 8];
        for (to, from) in low.iter_mut().zip(&digits) {
            *to = *from;
        }
        let fits = digits.len() <= 8;
        self.push(if fits {
            Value::Int(i64::from_le_bytes(low))
        } else {
            Value::Long(u64::from_le_bytes(low), n_bytes as u8)
        })
    }

    fn number(&mut self, op: u8) -> Why<()> {
        if op == b'G' {
            self.bytes.array::<8>()?;
            return self.push(Value::Float);
        }
        let line = self.bytes.line()?;
        let value = match (op, line.as_str()) {
            (b'I', "00") => Value::Bool(false),
            (b'I', "01") => Value::Bool(true),
            (b'F', _) => Value::Float,
            _ => match line.trim_end_matches('L').parse() {
                Ok(n) => Value::Int(n),
                Err(_) => return Err(format!("{line:?} is not a whole number")),
            },
        };
        self.push(value)
    }

    fn string(&mut self, op: u8) -> Why<()> {
        let text = match op {
            b'V' => self.bytes.line()?,
            _ => {
                let len = self.length(op)?;
                match op {
                    // Strings of Python 2 are bytes; those that matter here are ASCII.
                    b'U' | b'T' => {
                        let start = self.bytes.skip(len)?;
                        match self.bytes.read(start, len).map(String::from_utf8) {
                            Ok(Ok(text)) => text,
                            _ => return self.push(Value::Bytes { start, len }),
                        }
                    }
                    _ => self.bytes.text(len)?,
                }
            }
        };
        let string = self.heap.string(text)?;
        self.push(string)
    }

    /// The length that follows an opcode for strings or bytes.
    fn length(&mut self, op: u8) -> Why<u64> {
        Ok(match op {
            0x8c | b'U' | b'C' => self.bytes.byte()?.into(),
            b'X' | b'T' | b'B' => u32::from_le_bytes(self.bytes.array()?).into(),
            _ => self.bytes.u64()?,
        })
    }

    fn push(&mut self, value: Value) -> Why<()> {
        if self.stack.len() == MAX_STACK {
            return Err(format!("more than {MAX_STACK} values on the stack"));
        }
        self.stack.push(value);
        Ok(())
    }

    fn push_tuple(&mut self, items: Vec<Value>) -> Why<()> {
        let tuple = self.heap.tuple(items)?;
        self.push(tuple)
    }

    fn pop(&mut self) -> Why<Value> {
        match self.stack.pop() {
            Some(Value::Mark) | None => Err("the stack is empty".into()),
            Some(value) => Ok(value),
        }
    }

    fn top(&self) -> Why<Value> {
        match self.stack.last() {
            Some(Value::Mark) | None => Err("the stack is empty".into()),
            Some(value) => Ok(*value),
        }
    }

    fn pop_n(&mut self, n: usize) -> Why<Vec<Value>> {
        let mut items = Vec::with_capacity(n);
        for _ in 0..n {
            items.push(self.pop()?);
        }
        items.reverse();
        Ok(items)
    }

    /// The values above the last mark.
    fn group(&mut self) -> Why<Vec<Value>> {
        let Some(mark) = self.stack.iter().rposition(|v| *v == Value::Mark) else {
            return Err("no group was begun".into());
        };
        let items = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(items)
    }

    fn append(&mut self, items: &[Value]) -> Why<()> {
        match self.top()? {
            Value::List(id) => self.heap.append(id, items),
            Value::Inert => Ok(()),
            other => Err(format!("{} is appended to", self.heap.describe(other))),
        }
    }

    fn set_items(&mut self, items: &[Value]) -> Why<()> {
        match self.top()? {
            Value::Dict(id) => {
                let (pairs, rest) = items.as_chunks::<2>();
                if !rest.is_empty() {
                    return Err("a key without a value".into());
                }
                pairs.iter().try_for_each(|[key, value]| self.heap.set(id, *key, *value))
            }
            Value::Inert => Ok(()),
            other => Err(format!("items are set in {}", self.heap.describe(other))),
        }
    }

    fn remember(&mut self, op: u8) -> Why<()> {
        let index = match op {
            0x94 => self.memo.len() as u32, // at most MAX_VALUES
            _ => self.memo_index(op, b'p', b'q')?,
        };
        if self.memo.len() == MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} values are remembered"));
        }
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn memo_index(&mut self, op: u8, text: u8, short: u8) -> Why<u32> {
        if op == text {
            let line = self.bytes.line()?;
            return line.parse().map_err(|_| format!("{line:?} is not a place to remember"));
        }
        if op == short { Ok(self.bytes.byte()?.into()) } else { Ok(u32::from_le_bytes(self.bytes.array()?)) }
    }

    /// Bytes that were decoded, placed where all others are.
    pub(super) fn keep_bytes(&mut self, bytes: Vec<u8>) -> Why<Value> {
        let len = bytes.len() as u64;
        Ok(Value::Bytes { start: self.bytes.append(bytes)?, len })
    }
}
