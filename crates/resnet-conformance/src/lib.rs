//! What every backend is held to.
//!
//! A backend is right if it agrees with the specification on every op, element by element, within what f32 arithmetic can be blamed for.
//! This crate has the specification, the bounds, the cases to try, and the laws, and one macro that turns them into tests.
//! It depends on no backend; backends depend on it for their tests only.
//!
//! Read in this order:
//! - [`reference`](mod@reference): every op in plain loops.
//! - [`number`]: what those loops compute with.
//! - [`bound`]: the bounds and their derivation. [`fast`]: what a fast algorithm for convolution adds to them.
//! - [`noisy`]: how far rounding throws a whole network off.
//! - [`data`] and [`strategy`]: the cases, weighted towards edges.
//! - [`laws`]: what must hold, and [`conformance!`], which makes tests of it.
//! - [`golden`]: whole networks as PyTorch computes them.
//! - [`report`]: the worst error per op, for people.
#![forbid(unsafe_code)]

pub mod bound;
pub mod data;
pub mod fast;
pub mod golden;
mod lab;
pub mod laws;
pub mod noisy;
pub mod number;
pub mod pieces;
pub mod reference;
pub mod report;
pub mod strategy;
mod tensors;
mod training;

pub use bound::Bounded;
pub use reference::Reference;
pub use report::{OpError, worst_errors};

/// The type that [`conformance!`] holds a backend to where none is named.
#[doc(hidden)]
pub const F32: resnet_core::DType = resnet_core::DType::F32;

/// Makes a module of tests that hold a backend to everything in [`laws`].
///
/// The expression makes a backend; each test makes its own. A name for the module may come first, for a second configuration,
/// and a [`DType`](resnet_core::DType) last: then the laws that activations have a part in are held over that type.
///
/// ```
/// use resnet_conformance::{Reference, conformance};
/// use resnet_core::DType;
///
/// conformance!(Reference::new());
/// conformance!(single_precision, Reference::<f32>::default());
/// conformance!(bf16, Reference::<f32>::default(), DType::Bf16);
/// ```
///
/// `RESNET_CONFORMANCE_CASES` sets how many cases each law tries, a number after the type how many it usually does.
#[macro_export]
macro_rules! conformance {
    ($make:expr) => {
        $crate::conformance!(conformance, $make);
    };
    ($module:ident, $make:expr) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;

            $crate::conformance!(@activations $make, $crate::F32, $crate::laws::CASES);
            $crate::conformance!(@tests $make;
                gather_is_ingest_of_the_windows = device::gather_is_ingest_of_the_windows,
                loss_scale_follows_its_rule = device::loss_scale_follows_its_rule,
                norm_finish_matches_reference = norm::finish_matches_reference,
                norm_frozen_matches_reference = norm::frozen_matches_reference,
                norm_frozen_backward_matches_reference = norm::frozen_backward_matches_reference,
                norm_backward_finish_matches_reference = norm::backward_matches_reference,
                sgd_matches_reference = update::sgd_matches_reference,
                adam_matches_reference = update::adam_matches_reference,
                adamw_matches_reference = update::adamw_matches_reference,
                grad_norm_matches_reference = update::grad_norm_matches_reference,
                conv2d_directions_are_adjoint = exact::conv2d_directions_are_adjoint,
                grouped_is_one_per_group = exact::grouped_is_one_per_group,
                padding_is_zeros_around_the_image = exact::padding_is_zeros_around_the_image,
                add_is_set_then_add = exact::add_is_set_then_add,
                pools_are_adjoint = exact::pools_are_adjoint,
            );
        }
    };
    ($module:ident, $make:expr, $dtype:expr) => {
        $crate::conformance!($module, $make, $dtype, $crate::laws::CASES);
    };
    ($module:ident, $make:expr, $dtype:expr, $cases:expr) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;

            $crate::conformance!(@activations $make, $dtype, $cases);
        }
    };
    (@activations $make:expr, $dtype:expr, $cases:expr) => {
        $crate::conformance!(@typed $make, $dtype, $cases;
            transfers_keep_every_bit = elementwise::transfers_keep_every_bit,
            ingest_matches_reference = elementwise::ingest_matches_reference,
            combine_matches_reference = elementwise::combine_matches_reference,
            combine_backward_matches_reference = elementwise::combine_backward_matches_reference,
            conv2d_matches_reference = conv2d::forward_matches_reference,
            conv2d_finished_matches_reference = conv2d::finished_matches_reference,
            conv2d_backward_data_matches_reference = conv2d::backward_data_matches_reference,
            conv2d_backward_weight_matches_reference = conv2d::backward_weight_matches_reference,
            conv2d_backward_matches_reference = conv2d::backward_matches_reference,
            max_pool_matches_reference = pool::max_matches_reference,
            max_pool_backward_matches_reference = pool::max_backward_matches_reference,
            avg_pool_matches_reference = pool::avg_matches_reference,
            avg_pool_backward_matches_reference = pool::avg_backward_matches_reference,
            nan_wins = pool::nan_wins,
            softmax_cross_entropy_matches_reference = loss::matches_reference,
            non_finite_losses_are_counted = loss::non_finite_losses_are_counted,
            a_wrong_label_is_no_address = loss::a_wrong_label_is_no_address,
            sums_are_of_stored_values = sums::sums_are_of_stored_values,
            gradient_sums_are_of_stored_values = sums::gradient_sums_are_of_stored_values,
            v1_basic_trains = network::v1_basic_trains,
            v1_bottleneck_trains = network::v1_bottleneck_trains,
            v1_5_pooled_trains = network::v1_5_pooled_trains,
            v2_trains = network::v2_trains,
            plain_trains = network::plain_trains,
            zero_padded_shortcut_trains = network::zero_padded_shortcut_trains,
            frozen_layers_train = network::frozen_layers_train,
            frozen_norms_train = network::frozen_norms_train,
            repeat_is_bit_equal = memory::repeat_is_bit_equal,
            buffers_can_be_reused = memory::buffers_can_be_reused,
            short_buffers_are_refused = memory::short_buffers_are_refused,
            nothing_behind_a_tensor_is_written = memory::nothing_behind_a_tensor_is_written,
            wrong_host_data_is_refused = memory::wrong_host_data_is_refused,
        );
    };
    (@tests $make:expr; $($test:ident = $file:ident::$law:ident,)*) => {
        $(
            #[test]
            fn $test() {
                $crate::laws::$file::$law(|| $make);
            }
        )*
    };
    (@typed $make:expr, $dtype:expr, $cases:expr; $($test:ident = $file:ident::$law:ident,)*) => {
        $(
            #[test]
            fn $test() {
                $crate::laws::with_cases($cases, || $crate::laws::$file::$law(|| $make, $dtype));
            }
        )*
    };
}
