//! Numbers with a bound on how far arithmetic may have thrown them off.

use resnet_cuda::tensor::Element;

/// Unit roundoff of f32.
const U: f64 = 1.0 / (1u64 << 24) as f64;

/// A value and how far from it a result may lie.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Near {
    pub(crate) value: f64,
    pub(crate) error: f64,
}

impl Near {
    pub(crate) fn exact(value: f64) -> Self {
        Near { value, error: 0.0 }
    }

    fn most(self) -> f64 {
        self.value.abs() + self.error
    }

    /// One rounding to f32.
    fn rounded(self) -> Self {
        Near { error: self.error + U * self.most(), ..self }
    }

    /// One fused multiply-add in f32.
    pub(crate) fn fma(a: f64, b: f64, c: Near) -> Self {
        Near { value: a * b + c.value, error: c.error }.rounded()
    }

    pub(crate) fn plus(self, b: Near) -> Self {
        Near { value: self.value + b.value, error: self.error + b.error }.rounded()
    }

    pub(crate) fn relu(self) -> Self {
        Near { value: self.value.max(0.0), ..self }
    }

    /// One rounding to the element type.
    pub(crate) fn to(self, element: Element) -> Self {
        // Half a unit in the last place, and half of the smallest step where f16 loses bits of small numbers.
        let (relative, absolute) = match element {
            Element::Bf16 => (1.0 / 256.0, 0.0),
            Element::F16 => (1.0 / 2048.0, 1.0 / (1u64 << 25) as f64),
            Element::Tf32 => (1.0 / 2048.0, 0.0),
        };
        Near { error: self.error + relative / 2.0 * 2.0 * self.most() + absolute, ..self }
    }

    /// One rounding to what lies in memory: as [`Near::to`], but f32 for tf32.
    pub(crate) fn stored(self, element: Element) -> Self {
        if element == Element::Tf32 { self.rounded() } else { self.to(element) }
    }

    pub(crate) fn holds(self, got: f64) -> bool {
        (got - self.value).abs() <= self.error
    }
}

/// A sum of products, for any order of additions that truncate.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dot {
    value: f64,
    error: f64,
    magnitude: f64,
    terms: f64,
}

impl Dot {
    pub(crate) fn add(&mut self, a: Near, b: Near) {
        self.value += a.value * b.value;
        self.error += a.most() * b.most() - (a.value * b.value).abs();
        self.magnitude += a.most() * b.most();
        self.terms += 1.0;
    }

    /// `more`: additions besides one per term, for the parts of a sum that was split.
    pub(crate) fn total(self, more: usize) -> Near {
        let mu = (self.terms + more as f64) * 2.0 * U;
        Near { value: self.value, error: self.error + mu / (1.0 - mu) * self.magnitude }
    }
}
