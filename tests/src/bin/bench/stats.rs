//! The statistics of the tables. Pure.

/// Samples of one quantity, of any unit; never empty.
#[derive(Debug, Clone)]
pub(crate) struct Samples {
    sorted: Vec<f64>,
}

/// A value in the middle, and the quartiles around it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) first_quartile: f64,
    pub(crate) median: f64,
    pub(crate) third_quartile: f64,
}

impl Samples {
    /// None when there are no samples.
    pub(crate) fn new(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        (!sorted.is_empty()).then_some(Self { sorted })
    }

    /// The ratios `numerator / denominator` of the pairs in which both were taken; None when there
    /// is no pair.
    pub(crate) fn of_ratios(numerators: &[f64], denominators: &[f64]) -> Option<Self> {
        let pairs = numerators.iter().zip(denominators);
        Self::new(
            &pairs
                .map(|(numerator, denominator)| numerator / denominator)
                .collect::<Vec<_>>(),
        )
    }

    /// The median.
    pub(crate) fn median(&self) -> f64 {
        self.interpolated(1, 2)
    }

    /// The value that 99 of 100 samples do not exceed: the nearest rank, so always one that was
    /// measured. The largest of up to 100 samples.
    pub(crate) fn p99(&self) -> f64 {
        let rank = (self.sorted.len() * 99).div_ceil(100);
        self.at(rank.saturating_sub(1))
    }

    /// The median with its interquartile range.
    pub(crate) fn spread(&self) -> Spread {
        Spread {
            first_quartile: self.interpolated(1, 4),
            median: self.median(),
            third_quartile: self.interpolated(3, 4),
        }
    }

    /// The quantile `numerator / denominator`, between two samples in proportion to their distance
    /// (R's type 7, the usual one).
    fn interpolated(&self, numerator: u32, denominator: u32) -> f64 {
        let last = self.sorted.len().saturating_sub(1);
        let scaled = last * numerator as usize;
        let (below, rest) = (scaled / denominator as usize, scaled % denominator as usize);
        let share = f64::from(u32::try_from(rest).unwrap_or(0)) / f64::from(denominator);
        let low = self.at(below);
        low + share * (self.at((below + 1).min(last)) - low)
    }

    fn at(&self, index: usize) -> f64 {
        self.sorted.get(index).copied().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these values have exact representations")]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        Samples::new(values).unwrap()
    }

    #[test]
    fn no_samples_have_no_statistics() {
        assert!(Samples::new(&[]).is_none());
        assert!(Samples::of_ratios(&[1.0], &[]).is_none());
    }

    #[test]
    fn one_sample_is_all_there_is() {
        let one = samples(&[2.5]);
        assert_eq!((one.median(), one.p99()), (2.5, 2.5));
        let spread = one.spread();
        assert_eq!((spread.first_quartile, spread.third_quartile), (2.5, 2.5));
    }

    #[test]
    fn the_median_does_not_depend_on_the_order() {
        assert_eq!(samples(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(samples(&[4.0, 1.0, 3.0, 2.0]).median(), 2.5);
    }

    #[test]
    fn quartiles_are_interpolated() {
        let spread = samples(&[1.0, 2.0, 3.0, 4.0]).spread();
        assert_eq!((spread.first_quartile, spread.third_quartile), (1.75, 3.25));
        let spread = samples(&[10.0, 20.0, 30.0, 40.0, 50.0]).spread();
        assert_eq!((spread.first_quartile, spread.third_quartile), (20.0, 40.0));
    }

    #[test]
    fn p99_is_a_sample() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(samples(&hundred).p99(), 99.0);
        let more: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(samples(&more).p99(), 198.0);
        assert_eq!(samples(&[1.0, 9.0, 5.0]).p99(), 9.0);
    }

    #[test]
    fn ratios_are_of_pairs_not_of_medians() {
        // The medians are 2 and 4; in two of the three pairs ours took as long as the reference.
        let ratios = Samples::of_ratios(&[2.0, 2.0, 8.0], &[4.0, 2.0, 8.0]).unwrap();
        assert_eq!(ratios.median(), 1.0);
    }
}
