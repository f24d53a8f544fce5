//! How tensors of other libraries become ours: kernels `[out, in/groups, rows, columns]`, matrices `[out, in]`.

/// The order of a tensor's dimensions in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// As ours.
    Same,
    /// Kernel `[rows, columns, in/groups, out]`: TensorFlow.
    Hwio,
    /// Matrix `[in, out]`: TensorFlow and Paddle.
    Transposed,
    /// Matrix as a 1×1 kernel `[out, in, 1, 1]`: timm's pre-activation classifier.
    Kernel,
}

impl Layout {
    /// The shape in our order; `None` for a tensor that is not of this kind.
    pub(crate) fn shape(self, found: &[usize]) -> Option<Vec<usize>> {
        match (self, found) {
            (Layout::Same, _) => Some(found.to_vec()),
            (Layout::Hwio, &[r, s, c, k]) => Some(vec![k, c, r, s]),
            (Layout::Transposed, &[c, k]) => Some(vec![k, c]),
            (Layout::Kernel, &[k, c, 1, 1] | &[k, c]) => Some(vec![k, c]),
            _ => None,
        }
    }

    /// The values in our order. `found` is the shape in the file.
    pub(crate) fn apply(self, found: &[usize], values: Vec<f32>) -> Vec<f32> {
        // Both transpositions move the last dimension, of `k`, to the front; a kernel also moves its channels.
        let (taps, c, k) = match (self, found) {
            (Layout::Hwio, &[r, s, c, k]) => (r * s, c, k),
            (Layout::Transposed, &[c, k]) => (1, c, k),
            _ => return values,
        };
        let mut out = Vec::with_capacity(values.len());
        for k_i in 0..k {
            for c_i in 0..c {
                out.extend((0..taps).map(|tap| values[(tap * c + c_i) * k + k_i]));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_move_their_last_two_dimensions_to_the_front() {
        let found = [2, 1, 3, 2]; // two rows, one column, three inputs, two outputs
        let values = (0..12).map(|i| i as f32).collect();
        assert_eq!(Layout::Hwio.shape(&found), Some(vec![2, 3, 2, 1]));
        let ours = Layout::Hwio.apply(&found, values);
        assert_eq!(ours, [0., 6., 2., 8., 4., 10., 1., 7., 3., 9., 5., 11.]);
        assert_eq!(Layout::Transposed.apply(&[2, 3], vec![0., 1., 2., 3., 4., 5.]), [0., 3., 1., 4., 2., 5.]);
        assert_eq!(Layout::Kernel.shape(&[5, 4, 1, 1]), Some(vec![5, 4]));
        assert_eq!(Layout::Kernel.shape(&[5, 4, 3, 3]), None);
    }
}
