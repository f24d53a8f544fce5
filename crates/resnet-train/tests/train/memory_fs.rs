//! A file system in memory that keeps a log of what was done to it.
//!
//! From any prefix of the log it can build every state that a crash may leave: what was synced is there, and any part of
//! the rest may be, file content in blocks of 512 bytes. It can also fail the n-th operation.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use resnet_core::rng::{Purpose, Stream};
use resnet_train::checkpoint::vfs::{FileWriter, Vfs};

type Inode = usize;
const ROOT: Inode = 0;
const BLOCK: usize = 512;

#[derive(Clone, Debug)]
enum Op {
    /// A part of a file within one block.
    Write {
        file: Inode,
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: Inode,
    },
    SyncFile {
        file: Inode,
    },
    Link {
        dir: Inode,
        name: String,
        to: Inode,
    },
    Unlink {
        dir: Inode,
        name: String,
    },
    Rename {
        dir: Inode,
        from: String,
        to: String,
        inode: Inode,
    },
    SyncDir {
        dir: Inode,
    },
}

#[derive(Clone, Debug)]
enum Node {
    File(Vec<u8>),
    Dir(BTreeMap<String, Inode>),
}

#[derive(Clone, Debug)]
struct Disk {
    nodes: Vec<Node>,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// With this kind of error.
    Error(ErrorKind),
    /// A write takes one byte only; other operations are as usual.
    ShortWrite,
}

#[derive(Debug)]
struct State {
    disk: Disk,
    log: Vec<Op>,
    n_calls: usize,
    fault: Option<(usize, Fault)>,
    ignores_sync: bool,
}

/// Clones are the same file system.
#[derive(Clone, Debug)]
pub(crate) struct MemoryFs(Arc<Mutex<State>>);

impl Disk {
    fn new() -> Self {
        Self { nodes: vec![Node::Dir(BTreeMap::new())] }
    }

    fn apply(&mut self, op: &Op) {
        let needed = match op {
            Op::Link { to, .. } => *to,
            Op::Write { file, .. } | Op::Truncate { file } => *file,
            Op::Rename { inode, .. } => *inode,
            _ => 0,
        };
        // What an inode is follows from what is done to it; until then it is an empty directory.
        while self.nodes.len() <= needed {
            self.nodes.push(Node::Dir(BTreeMap::new()));
        }
        match op {
            Op::Write { file, offset, bytes } => {
                if let Node::Dir(_) = self.nodes[*file] {
                    self.nodes[*file] = Node::File(vec![]);
                }
                let Node::File(data) = &mut self.nodes[*file] else { unreachable!() };
                data.resize(data.len().max(offset + bytes.len()), 0);
                data[*offset..offset + bytes.len()].copy_from_slice(bytes);
            }
            Op::Truncate { file } => self.nodes[*file] = Node::File(vec![]),
            Op::Link { dir, name, to } => drop(self.dir(*dir).insert(name.clone(), *to)),
            Op::Unlink { dir, name } => drop(self.dir(*dir).remove(name)),
            Op::Rename { dir, from, to, inode } => {
                self.dir(*dir).remove(from);
                self.dir(*dir).insert(to.clone(), *inode);
            }
            Op::SyncFile { .. } | Op::SyncDir { .. } => {}
        }
    }

    fn dir(&mut self, inode: Inode) -> &mut BTreeMap<String, Inode> {
        while self.nodes.len() <= inode {
            self.nodes.push(Node::Dir(BTreeMap::new()));
        }
        match &mut self.nodes[inode] {
            Node::Dir(entries) => entries,
            Node::File(_) => panic!("inode {inode} is a file"),
        }
    }

    fn find(&self, path: &Path) -> io::Result<Inode> {
        let mut at = ROOT;
        for name in path.components() {
            let Node::Dir(entries) = &self.nodes[at] else { return Err(ErrorKind::NotADirectory.into()) };
            at = *entries.get(&*name.as_os_str().to_string_lossy()).ok_or(ErrorKind::NotFound)?;
        }
        Ok(at)
    }
}

impl State {
    /// Counts a call and fails it if it is its turn.
    fn call(&mut self) -> io::Result<Option<Fault>> {
        self.n_calls += 1;
        match self.fault {
            Some((n, Fault::Error(kind))) if n == self.n_calls => Err(kind.into()),
            Some((n, fault)) if n == self.n_calls => Ok(Some(fault)),
            _ => Ok(None),
        }
    }

    fn perform(&mut self, op: Op) {
        self.disk.apply(&op);
        if !(self.ignores_sync && matches!(op, Op::SyncFile { .. } | Op::SyncDir { .. })) {
            self.log.push(op);
        }
    }

    fn split(&self, path: &Path) -> io::Result<(Inode, String)> {
        let dir = self.disk.find(path.parent().unwrap())?;
        Ok((dir, path.file_name().unwrap().to_string_lossy().into_owned()))
    }
}

impl MemoryFs {
    pub(crate) fn new() -> Self {
        let disk = Disk::new();
        Self(Arc::new(Mutex::new(State { disk, log: vec![], n_calls: 0, fault: None, ignores_sync: false })))
    }

    /// A file system whose syncs do nothing: what a program without them would have.
    pub(crate) fn without_sync() -> Self {
        let fs = Self::new();
        fs.0.lock().unwrap().ignores_sync = true;
        fs
    }

    /// An independent copy, everything on the disk.
    pub(crate) fn copy(&self) -> Self {
        let fs = Self::new();
        fs.0.lock().unwrap().disk = self.0.lock().unwrap().disk.clone();
        fs
    }

    /// Fails the n-th operation from now on, counted from 1.
    pub(crate) fn fail(&self, n: usize, fault: Fault) {
        let mut state = self.0.lock().unwrap();
        state.n_calls = 0;
        state.fault = Some((n, fault));
    }

    /// Operations since [`MemoryFs::fail`].
    pub(crate) fn n_calls(&self) -> usize {
        self.0.lock().unwrap().n_calls
    }

    /// No operation fails any more.
    pub(crate) fn heal(&self) {
        self.0.lock().unwrap().fault = None;
    }

    /// Length of the log.
    pub(crate) fn moment(&self) -> usize {
        self.0.lock().unwrap().log.len()
    }

    /// Changes a byte of a file.
    pub(crate) fn flip(&self, path: &Path, byte: usize, bit: u8) {
        let state = &mut *self.0.lock().unwrap();
        let inode = state.disk.find(path).unwrap();
        let Node::File(data) = &mut state.disk.nodes[inode] else { panic!("no file") };
        data[byte] ^= 1 << bit;
    }

    /// Cuts a file.
    pub(crate) fn cut(&self, path: &Path, len: usize) {
        let state = &mut *self.0.lock().unwrap();
        let inode = state.disk.find(path).unwrap();
        let Node::File(data) = &mut state.disk.nodes[inode] else { panic!("no file") };
        data.truncate(len);
    }

    /// Calls `check` with every state that a crash after `moment` operations may leave.
    /// Where more than `LIMIT` operations are pending, the extremes and a random part of the rest.
    pub(crate) fn crash(&self, moment: usize, mut check: impl FnMut(MemoryFs)) {
        const LIMIT: usize = 10;
        const N_RANDOM: usize = 100;
        let log = self.0.lock().unwrap().log[..moment].to_vec();
        let pending: Vec<usize> = (0..moment).filter(|&i| !is_durable(&log, i)).collect();
        let mut visit = |keeps: &dyn Fn(usize) -> bool| {
            let fs = MemoryFs::new();
            for (i, op) in log.iter().enumerate() {
                if pending.binary_search(&i).map_or(true, keeps) {
                    fs.0.lock().unwrap().disk.apply(op);
                }
            }
            check(fs);
        };
        if pending.len() <= LIMIT {
            for subset in 0..1u32 << pending.len() {
                visit(&|k| subset >> k & 1 == 1);
            }
            return;
        }
        let is_data = |k: usize| matches!(log[pending[k]], Op::Write { .. } | Op::Truncate { .. });
        visit(&|_| false);
        visit(&|_| true);
        visit(&|k| is_data(k));
        visit(&|k| !is_data(k));
        for one in 0..pending.len() {
            visit(&|k| k == one);
            visit(&|k| k != one);
        }
        for i in 0..N_RANDOM {
            let draws = |k| Stream::new(moment as u64, Purpose::Synthetic, i as u64, k as u64).chance(0.5);
            visit(&draws);
        }
    }
}

/// Whether a later sync covers an operation.
fn is_durable(log: &[Op], i: usize) -> bool {
    let later = &log[i + 1..];
    let file_synced = |f: &Inode| later.iter().any(|op| matches!(op, Op::SyncFile { file } if file == f));
    let dir_synced = |d: &Inode| later.iter().any(|op| matches!(op, Op::SyncDir { dir } if dir == d));
    match &log[i] {
        Op::Write { file, .. } | Op::Truncate { file } => file_synced(file),
        Op::Link { dir, .. } | Op::Unlink { dir, .. } | Op::Rename { dir, .. } => dir_synced(dir),
        Op::SyncFile { .. } | Op::SyncDir { .. } => true,
    }
}

struct Writer {
    fs: MemoryFs,
    file: Inode,
    offset: usize,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.fs.0.lock().unwrap();
        let n = match state.call()? {
            Some(Fault::ShortWrite) => bytes.len().min(1),
            _ => bytes.len(),
        };
        let end = self.offset + n;
        let mut at = 0;
        while self.offset < end {
            let in_block = (BLOCK - self.offset % BLOCK).min(end - self.offset);
            let part = bytes[at..at + in_block].to_vec();
            state.perform(Op::Write { file: self.file, offset: self.offset, bytes: part });
            self.offset += in_block;
            at += in_block;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl FileWriter for Writer {
    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.fs.0.lock().unwrap();
        state.call()?;
        state.perform(Op::SyncFile { file: self.file });
        Ok(())
    }
}

impl Vfs for MemoryFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.call()?;
        let mut at = ROOT;
        for part in path.components() {
            let name = part.as_os_str().to_string_lossy().into_owned();
            at = match state.disk.dir(at).get(&name) {
                Some(inode) => *inode,
                None => {
                    let to = state.disk.nodes.len();
                    state.perform(Op::Link { dir: at, name, to });
                    to
                }
            };
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn FileWriter>> {
        let mut state = self.0.lock().unwrap();
        state.call()?;
        let (dir, name) = state.split(path)?;
        let file = match state.disk.find(path) {
            Ok(file) => file,
            Err(_) => {
                let to = state.disk.nodes.len();
                state.perform(Op::Link { dir, name, to });
                to
            }
        };
        state.perform(Op::Truncate { file });
        Ok(Box::new(Writer { fs: self.clone(), file, offset: 0 }))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.call()?;
        let dir = state.disk.find(path)?;
        state.perform(Op::SyncDir { dir });
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.call()?;
        let inode = state.disk.find(from)?;
        let (dir, from) = state.split(from)?;
        let (to_dir, to) = state.split(to)?;
        assert_eq!(dir, to_dir, "only renames within a directory are modelled");
        state.perform(Op::Rename { dir, from, to, inode });
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.call()?;
        let inode = state.disk.find(path)?;
        let names: Vec<String> = state.disk.dir(inode).keys().cloned().collect();
        for name in names {
            state.perform(Op::Unlink { dir: inode, name });
        }
        let (dir, name) = state.split(path)?;
        state.perform(Op::Unlink { dir, name });
        Ok(())
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let mut state = self.0.lock().unwrap();
        state.call()?;
        let inode = state.disk.find(path)?;
        match &state.disk.nodes[inode] {
            Node::File(data) if data.len() as u64 <= limit => Ok(data.clone()),
            Node::File(_) => Err(ErrorKind::InvalidData.into()),
            Node::Dir(_) => Ok(vec![]), // a file of which nothing but its entry has arrived
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut state = self.0.lock().unwrap();
        state.call()?;
        let inode = state.disk.find(path)?;
        match &state.disk.nodes[inode] {
            Node::Dir(entries) => Ok(entries.keys().cloned().collect()),
            Node::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }
}
