//! What is computed, in the words of `resnet bench`.

use std::fmt;

/// One line of work that every contender does alike.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Case {
    pub(crate) arch: String,
    pub(crate) channels: usize,
    pub(crate) size: usize,
    pub(crate) classes: usize,
    pub(crate) batch: usize,
    pub(crate) infer: bool,
    pub(crate) precision: String,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { arch, channels, size, batch, infer, precision, .. } = self;
        let what = if *infer { "inference" } else { "training" };
        write!(f, "{arch}, {channels}×{size}×{size}, batch {batch}, {what}")?;
        if precision != "f32" {
            write!(f, ", {precision}")?;
        }
        Ok(())
    }
}

/// The cases, as arguments.
#[derive(Clone, clap::Args)]
pub(crate) struct CaseArgs {
    /// The cases of this project's own table, instead of those that the options below describe:
    /// ResNet-18 at 1×28×28 and 1×96×96, ResNet-50 at 3×224×224 and ResNet-20 at 3×32×32 in training, and ResNet-50 in
    /// inference with one picture and with 32
    #[arg(long, requires = "whole", conflicts_with_all = ["arch", "channels", "size", "classes", "batch", "infer"])]
    standard: bool,
    /// Networks that all sides know, by torchvision's names; also resnet20-cifar … resnet110-cifar
    #[arg(long, default_value = "resnet18", value_delimiter = ',', requires = "whole")]
    arch: Vec<String>,
    /// Input channels
    #[arg(long, default_value_t = 1, requires = "whole")]
    channels: usize,
    /// Input sizes in pixels
    #[arg(long, default_value = "28,96", value_delimiter = ',', requires = "whole")]
    size: Vec<usize>,
    /// Classes
    #[arg(long, default_value_t = 10, requires = "whole")]
    classes: usize,
    /// Pictures in a batch
    #[arg(long, default_value_t = 256, requires = "whole")]
    batch: usize,
    /// Time inference instead of training
    #[arg(long, requires = "whole")]
    infer: bool,
    /// Precision of activations; PyTorch's bf16 is autocast
    #[arg(long, default_value = "f32", value_parser = ["f32", "bf16"], requires = "whole")]
    precision: String,
}

impl CaseArgs {
    /// The cases asked for that are training: for those pictures are augmented.
    pub(crate) fn training(&self) -> Vec<Case> {
        self.cases().into_iter().filter(|case| !case.infer).collect()
    }

    /// Every case asked for, in order.
    pub(crate) fn cases(&self) -> Vec<Case> {
        if self.standard {
            return standard(&self.precision);
        }
        let CaseArgs { channels, classes, batch, infer, precision, .. } = self;
        let pairs = self.arch.iter().flat_map(|arch| self.size.iter().map(move |size| (arch, *size)));
        pairs
            .map(|(arch, size)| Case {
                arch: arch.clone(),
                channels: *channels,
                size,
                classes: *classes,
                batch: *batch,
                infer: *infer,
                precision: precision.clone(),
            })
            .collect()
    }
}

fn standard(precision: &str) -> Vec<Case> {
    let case = |arch: &str, channels, size, classes, batch, infer| Case {
        arch: arch.to_owned(),
        channels,
        size,
        classes,
        batch,
        infer,
        precision: precision.to_owned(),
    };
    vec![
        case("resnet18", 1, 28, 10, 256, false),
        case("resnet18", 1, 96, 10, 256, false),
        case("resnet50", 3, 224, 1000, 16, false),
        case("resnet20-cifar", 3, 32, 10, 128, false),
        case("resnet50", 3, 224, 1000, 1, true),
        case("resnet50", 3, 224, 1000, 32, true),
    ]
}

#[cfg(test)]
impl Case {
    /// A small one, for tests.
    pub(crate) fn small() -> Self {
        Case { batch: 4, ..standard("f32").swap_remove(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    #[command(group(clap::ArgGroup::new("whole").args(["against"])))]
    struct Line {
        #[arg(long)]
        against: Option<String>,
        #[command(flatten)]
        args: CaseArgs,
    }

    fn cases(line: &str) -> Vec<String> {
        let words = "bench --against torch".split(' ').chain(line.split_whitespace());
        let line = Line::try_parse_from(words).expect("arguments");
        assert_eq!(line.against.as_deref(), Some("torch"));
        line.args.cases().iter().map(Case::to_string).collect()
    }

    #[test]
    fn networks_times_sizes() {
        let some = cases("--arch resnet18,resnet34 --size 28,32 --batch 8 --infer");
        assert_eq!(some.len(), 4);
        assert_eq!(some[0], "resnet18, 1×28×28, batch 8, inference");
        assert_eq!(some[3], "resnet34, 1×32×32, batch 8, inference");
    }

    #[test]
    fn the_table_of_the_project() {
        let all = cases("--standard --precision bf16");
        assert_eq!(all.len(), 6);
        assert_eq!(all[2], "resnet50, 3×224×224, batch 16, training, bf16");
        assert!(Line::try_parse_from(["bench", "--against", "torch", "--standard", "--batch", "4"]).is_err());
        let line = Line::try_parse_from(["bench", "--against", "torch", "--standard"]).expect("arguments");
        assert_eq!(line.args.training().len(), 4);
    }
}
