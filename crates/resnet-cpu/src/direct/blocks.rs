//! A pixel-major tensor cut into blocks of pictures times bands of pixels, each of which one task writes.
//!
//! A block's rows are not one slice: it has some pictures at every pixel. Rust's slices cannot be split that way, so this
//! file does it, once, behind an interface that cannot hand out the same number twice.

use std::marker::PhantomData;
use std::ops::Range;

use crate::threads::{Scratch, Threads};

/// How a tensor of `pixels × n` rows is cut. Depends on the problem alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) pixels: usize,
    pub(crate) n: usize,
    /// Pixels per band.
    pub(crate) band: usize,
    /// Pictures per block.
    pub(crate) block: usize,
}

impl Grid {
    pub(crate) fn bands(&self) -> usize {
        self.pixels.div_ceil(self.band)
    }

    pub(crate) fn blocks(&self) -> usize {
        self.n.div_ceil(self.block)
    }

    pub(crate) fn len(&self) -> usize {
        self.bands() * self.blocks()
    }

    /// Pixels and pictures of one cell. Cells of one block follow each other.
    pub(crate) fn cell(&self, i: usize) -> (Range<usize>, Range<usize>) {
        let (block, band) = (i / self.bands(), i % self.bands());
        let end = |i: usize, size: usize, all: usize| ((i + 1) * size).min(all);
        (
            band * self.band..end(band, self.band, self.pixels),
            block * self.block..end(block, self.block, self.n),
        )
    }

    /// Rows of one cell.
    pub(crate) fn rows(&self, i: usize) -> usize {
        let (pixels, pictures) = self.cell(i);
        pixels.len() * pictures.len()
    }
}

/// The part of a tensor that one task writes: some pictures at some pixels.
pub(crate) struct Cell<'a, E> {
    start: *mut E,
    /// The pixel and the picture that lie at the start.
    origin: (usize, usize),
    n: usize,
    c: usize,
    pub(crate) pixels: Range<usize>,
    pub(crate) pictures: Range<usize>,
    tensor: PhantomData<&'a mut [E]>,
}

impl<E> Cell<'_, E> {
    /// Numbers in the cell.
    pub(crate) fn len(&self) -> usize {
        self.pixels.len() * self.pictures.len() * self.c
    }

    /// The same pixels and pictures in memory of their own.
    ///
    /// # Panics
    /// If the memory has another length than the cell.
    pub(crate) fn alike<'w, W>(&self, memory: &'w mut [W]) -> Cell<'w, W> {
        assert_eq!(memory.len(), self.len(), "memory of another cell");
        Cell {
            start: memory.as_mut_ptr(),
            origin: (self.pixels.start, self.pictures.start),
            n: self.pictures.len(),
            c: self.c,
            pixels: self.pixels.clone(),
            pictures: self.pictures.clone(),
            tensor: PhantomData,
        }
    }

    /// The cell's rows at one pixel: `pictures × c` numbers.
    ///
    /// # Panics
    /// If the pixel is not the cell's.
    pub(crate) fn at(&mut self, pixel: usize) -> &mut [E] {
        self.run(pixel..pixel + 1)
    }

    /// The cell's rows at several pixels, which must come in their order.
    ///
    /// # Panics
    /// If a pixel is not the cell's, or comes after a later one.
    pub(crate) fn places<const N: usize>(&mut self, pixels: [Option<usize>; N]) -> [Option<&mut [E]>; N] {
        let mut next = 0;
        pixels.map(|pixel| {
            let pixel = pixel?;
            assert!(pixel >= next, "pixel {pixel} comes after a later one");
            next = pixel + 1;
            let rows: *mut [E] = self.at(pixel);
            // SAFETY: `rows` was just made of memory that the cell borrows exclusively, as `self` is while what is returned lives.
            // Rows of different pixels are different numbers, and the assertion lets no pixel in twice.
            Some(unsafe { &mut *rows })
        })
    }

    /// The cell's rows at consecutive pixels: `pixels × pictures × c` numbers. More than one pixel only if the cell has all
    /// pictures, since only then do its rows follow each other.
    ///
    /// # Panics
    /// If a pixel is not the cell's, or there are several and not all pictures.
    pub(crate) fn run(&mut self, pixels: Range<usize>) -> &mut [E] {
        let inside =
            self.pixels.start <= pixels.start && pixels.start < pixels.end && pixels.end <= self.pixels.end;
        assert!(inside, "pixels {pixels:?} of a cell with {:?}", self.pixels);
        assert!(
            pixels.len() == 1 || self.pictures.len() == self.n,
            "the rows of several pixels do not follow each other"
        );
        let (pixel, picture) = (pixels.start - self.origin.0, self.pictures.start - self.origin.1);
        let first = (pixel * self.n + picture) * self.c;
        let len = pixels.len() * self.pictures.len() * self.c;
        // SAFETY: `start` is memory that is borrowed exclusively for 'a and holds `n · c` numbers for each pixel: a tensor of
        // `Grid::pixels` from pixel and picture 0 on (asserted in `for_cells`), or the cell's own pixels and pictures (asserted
        // in `alike`). Pixels are the cell's, pictures are below origin + n. So first..first + len is inside. Cells of a grid share no (pixel, picture), each is made once, and `&mut self` allows one view at a time.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), len) }
    }
}

/// Gives every cell of a grid, with `partial_len` numbers of its own set to zero, to a task.
pub(crate) fn for_cells<E: Send>(
    threads: &Threads,
    grid: Grid,
    c: usize,
    out: &mut [E],
    partials: &mut [f64],
    partial_len: usize,
    task: impl Fn(&mut Cell<'_, E>, &mut [f64], &mut Scratch) + Sync + Send,
) {
    /// A pointer that threads may share: each makes slices of its own cells only.
    struct Shared<E>(*mut E);
    // SAFETY: the pointer is only used through `Cell`, whose views are disjoint between tasks; numbers may be sent.
    unsafe impl<E: Send> Sync for Shared<E> {}
    impl<E> Shared<E> {
        fn get(&self) -> *mut E {
            self.0
        }
    }

    assert_eq!(out.len(), grid.pixels * grid.n * c, "a grid of another tensor");
    let start = Shared(out.as_mut_ptr());
    let cells = partials.chunks_exact_mut(partial_len).take(grid.len()).enumerate();
    threads.run(cells, |(i, partial), scratch| {
        partial.fill(0.0);
        let (pixels, pictures) = grid.cell(i);
        let (start, n) = (start.get(), grid.n);
        let mut cell = Cell { start, origin: (0, 0), n, c, pixels, pictures, tensor: PhantomData };
        task(&mut cell, partial, scratch);
    });
}
