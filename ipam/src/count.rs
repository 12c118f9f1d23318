use std::fmt;

/// A number of addresses. `::/0` alone has 2^128, and a pool may list it more than once, hence 192 bits.
///
/// Additions and subtractions saturate; with fewer than 2^64 ranges in a pool neither end is ever reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count {
    high: u64,
    low: u128,
}

impl Count {
    /// The number one below which lies `last_index`: the size of a range from 0 to `last_index`.
    pub fn up_to(last_index: u128) -> Self {
        Self::from(last_index) + Self::from(1)
    }

    /// What remains after taking `other` away; zero where `other` is larger.
    pub fn saturating_sub(self, other: Self) -> Self {
        if self < other {
            return Self::default();
        }
        let (low, borrowed) = self.low.overflowing_sub(other.low);
        Self {
            high: self.high - other.high - u64::from(borrowed),
            low,
        }
    }
}

impl From<u128> for Count {
    fn from(low: u128) -> Self {
        Self { high: 0, low }
    }
}

impl std::ops::Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (low, carried) = self.low.overflowing_add(other.low);
        let high = self
            .high
            .saturating_add(other.high)
            .saturating_add(u64::from(carried));
        Self { high, low }
    }
}

impl std::iter::Sum for Count {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, count| sum + count)
    }
}

/// Decimal, without separators.
impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CHUNK: u128 = 1_000_000_000_000_000_000;
        if self.high == 0 {
            return self.low.fmt(f);
        }
        // Long division by 10^18, 64 bits at a time; every remainder times 2^64 fits in 128 bits.
        let mut limbs = [
            u128::from(self.high),
            self.low >> 64,
            self.low & u128::from(u64::MAX),
        ];
        let mut chunks = Vec::with_capacity(4);
        while limbs.iter().any(|&limb| limb != 0) {
            let mut remainder = 0;
            for limb in &mut limbs {
                let dividend = (remainder << 64) | *limb;
                *limb = dividend / CHUNK;
                remainder = dividend % CHUNK;
            }
            chunks.push(remainder);
        }
        let mut digits = String::new();
        for (index, chunk) in chunks.iter().rev().enumerate() {
            digits.push_str(&if index == 0 {
                format!("{chunk}")
            } else {
                format!("{chunk:018}")
            });
        }
        f.pad_integral(true, "", &digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_128_bits_are_spelled_in_decimal() {
        let whole = Count::up_to(u128::MAX);
        assert_eq!(whole.to_string(), "340282366920938463463374607431768211456");
        assert_eq!(
            (whole + whole).to_string(),
            "680564733841876926926749214863536422912"
        );
        assert_eq!(
            whole.saturating_sub(Count::from(1)).to_string(),
            u128::MAX.to_string()
        );
        assert_eq!(
            (whole + Count::from(5)).saturating_sub(Count::from(6)),
            Count::from(u128::MAX)
        );
    }

    #[test]
    fn small_numbers_are_plain() {
        assert_eq!(Count::default().to_string(), "0");
        assert_eq!(
            Count::up_to(u128::from(u64::MAX)).to_string(),
            "18446744073709551616"
        );
        assert_eq!(
            Count::from(3).saturating_sub(Count::from(4)),
            Count::default()
        );
    }
}
