//! What is bound to a kernel: an element type, a length and how the buffer is filled.

use crate::data::npy;
use crate::error::{Error, Result};
use crate::half::{from_half, to_half};
use rand::{RngExt, SeedableRng};
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

/// Type of a buffer's elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Element {
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// Unsigned 32-bit integer.
    U32,
    /// Signed 32-bit integer.
    I32,
}

/// How a buffer is filled before the first run.
#[derive(Clone, PartialEq, Debug)]
pub enum Fill {
    /// Random from a seed: floats uniform in [-1, 1), integers of random bits; or uniform in the range, whose end is not in
    /// it.
    Rand(Option<Range<f64>>),
    /// Zeros.
    Zeros,
    /// Ones.
    Ones,
    /// 0, 1, 2, …
    Iota,
    /// The numbers of a `.npy` file.
    File(PathBuf),
    /// These numbers; a single one fills the buffer.
    Values(Vec<Value>),
}

/// A number, of the buffer's type or of one of its own.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Value {
    /// The number.
    pub number: f64,
    /// Its type where that is not the buffer's: a uniform block may hold several.
    pub element: Option<Element>,
}

/// A buffer that is bound to a kernel.
#[derive(Clone, PartialEq, Debug)]
pub struct Binding {
    /// `@group`.
    pub group: u32,
    /// `@binding`.
    pub binding: u32,
    /// Type of the elements.
    pub element: Element,
    /// Number of elements; may be left out for [`Fill::File`] and [`Fill::Values`], which know theirs.
    pub len: Option<usize>,
    /// What it holds at the start.
    pub fill: Fill,
}

impl Element {
    /// Size in bytes.
    pub fn size_bytes(self) -> usize {
        if self == Self::F16 { 2 } else { 4 }
    }

    /// `f32`, `f16`, `u32` or `i32`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::U32 => "u32",
            Self::I32 => "i32",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::F32, Self::F16, Self::U32, Self::I32].into_iter().find(|element| element.name() == name)
    }

    fn of_suffix(suffix: char) -> Option<Self> {
        Some(match suffix {
            'f' => Self::F32,
            'h' => Self::F16,
            'u' => Self::U32,
            'i' => Self::I32,
            _ => return None,
        })
    }

    /// Whether the type has this number, rounded if it is a float's.
    fn has(self, number: f64) -> bool {
        let whole = |low: f64, high: f64| number.fract() == 0.0 && (low..=high).contains(&number);
        match self {
            Self::F32 | Self::F16 => true,
            Self::U32 => whole(0.0, f64::from(u32::MAX)),
            Self::I32 => whole(f64::from(i32::MIN), f64::from(i32::MAX)),
        }
    }

    fn push(self, bytes: &mut Vec<u8>, number: f64) {
        match self {
            Self::F32 => bytes.extend((number as f32).to_le_bytes()),
            Self::F16 => bytes.extend(to_half(number).to_le_bytes()),
            Self::U32 => bytes.extend((number as u32).to_le_bytes()),
            Self::I32 => bytes.extend((number as i32).to_le_bytes()),
        }
    }

    /// The numbers in a buffer's words.
    pub(super) fn numbers(self, words: &[u32]) -> Vec<f64> {
        match self {
            Self::F32 => words.iter().map(|word| f64::from(f32::from_bits(*word))).collect(),
            Self::F16 => words.iter().flat_map(|word| [*word as u16, (*word >> 16) as u16]).map(from_half).collect(),
            Self::U32 => words.iter().map(|word| f64::from(*word)).collect(),
            Self::I32 => words.iter().map(|word| f64::from(word.cast_signed())).collect(),
        }
    }
}

impl Binding {
    /// Group and binding.
    pub fn at(&self) -> [u32; 2] {
        [self.group, self.binding]
    }

    /// Size in bytes where it can be known without the contents.
    pub(super) fn known_bytes(&self) -> Result<Option<u64>> {
        let too_large = || self.wrong("is too large");
        let size = |len: usize| (len as u64).checked_mul(self.element.size_bytes() as u64).ok_or_else(too_large);
        self.len.map(size).transpose()
    }

    fn wrong(&self, problem: &str) -> Error {
        Error::setting(format!("--bind {}:{}", self.group, self.binding), problem)
    }

    /// The contents, little-endian.
    ///
    /// # Errors
    /// A file that cannot be read, or numbers that are too few, too many or that the type has not.
    pub fn bytes(&self, seed: u64) -> Result<Vec<u8>> {
        match &self.fill {
            Fill::Zeros => Ok(vec![0; self.wanted_len()? * self.element.size_bytes()]),
            Fill::Ones => self.generate(|_| 1.0),
            Fill::Iota => self.generate(|index| index as f64),
            Fill::Rand(range) => self.random(range.as_ref(), seed),
            Fill::File(path) => {
                let read = npy::read_numbers(path)?;
                let values: Vec<Value> = read.values.iter().map(|&number| Value { number, element: None }).collect();
                self.listed(&values).map_err(|problem| Error::file(path, problem))
            }
            Fill::Values(values) => self.listed(values).map_err(|problem| self.wrong(&problem)),
        }
    }

    fn wanted_len(&self) -> Result<usize> {
        let missing = || self.wrong("needs a length, such as f32[1024]");
        self.known_bytes()?;
        self.len.ok_or_else(missing)
    }

    fn generate(&self, mut number: impl FnMut(usize) -> f64) -> Result<Vec<u8>> {
        let len = self.wanted_len()?;
        let mut bytes = Vec::with_capacity(len * self.element.size_bytes());
        (0..len).for_each(|index| self.element.push(&mut bytes, number(index)));
        Ok(bytes)
    }

    fn random(&self, range: Option<&Range<f64>>, seed: u64) -> Result<Vec<u8>> {
        let place = u64::from(self.group) << 32 | u64::from(self.binding);
        let mut rng = rand_pcg::Pcg64::seed_from_u64(seed ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let integer = matches!(self.element, Element::U32 | Element::I32);
        match range {
            Some(range) => self.generate(|_| {
                let number = range.start + rng.random::<f64>() * (range.end - range.start);
                if integer { number.floor() } else { number }
            }),
            None if self.element == Element::U32 => self.generate(|_| f64::from(rng.random::<u32>())),
            None if integer => self.generate(|_| f64::from(rng.random::<i32>())),
            None => self.generate(|_| 2.0 * rng.random::<f64>() - 1.0),
        }
    }

    /// The error is the problem alone.
    fn listed(&self, values: &[Value]) -> Result<Vec<u8>, String> {
        let len = self.len.unwrap_or(values.len());
        let single = values.len() == 1;
        if len != values.len() && !single {
            return Err(format!("has {} numbers for {len} elements", values.len()));
        }
        let mut bytes = Vec::with_capacity(len * self.element.size_bytes());
        for Value { number, element } in values {
            let element = element.unwrap_or(self.element);
            if !element.has(*number) {
                return Err(format!("{number} is no {}", element.name()));
            }
            for _ in 0..if single { len } else { 1 } {
                element.push(&mut bytes, *number);
            }
        }
        Ok(bytes)
    }
}

/// How a binding is written.
const SYNTAX: &str = "wanted G:B=TYPE[LEN]:FILL with f32, f16, u32 or i32 and rand, rand:LO..HI, zeros, ones, iota, \
    FILE.npy or numbers, such as 0:1=f32[1024]:rand or 0:0=u32[]:64,64,0.5f";

impl FromStr for Binding {
    type Err = Error;

    /// From `G:B=TYPE[LEN]:FILL`; LEN may be a product (`512*512`), and is left out (`[]` or nothing) where a file or
    /// numbers have it.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |problem: String| Error::setting("--bind", format!("{text}: {problem}"));
        let malformed = || wrong(SYNTAX.to_owned());
        let (place, rest) = text.split_once('=').ok_or_else(malformed)?;
        let [group, binding] = parse_place(place).ok_or_else(malformed)?;
        let (ty, fill) = rest.split_once(':').ok_or_else(malformed)?;
        let (name, len) = match ty.split_once('[') {
            Some((name, len)) => (name, len.strip_suffix(']').ok_or_else(malformed)?),
            None => (ty, ""),
        };
        let element = Element::parse(name).ok_or_else(|| wrong(format!("{name:?} is no f32, f16, u32 or i32")))?;
        let len = if len.is_empty() {
            None
        } else {
            let factors = len.split('*').map(|factor| factor.trim().parse::<usize>().ok());
            let product = factors.reduce(|a, b| a?.checked_mul(b?)).flatten();
            Some(product.ok_or_else(|| wrong(format!("{len} is no length")))?)
        };
        let fill = parse_fill(fill).ok_or_else(|| wrong(format!("{fill:?} is no fill; {SYNTAX}")))?;
        if len.is_none() && !matches!(fill, Fill::File(_) | Fill::Values(_)) {
            return Err(wrong(format!("needs a length, such as {}[1024]", element.name())));
        }
        Ok(Self { group, binding, element, len, fill })
    }
}

/// `G:B`, or `B` of group 0.
pub(super) fn parse_place(text: &str) -> Option<[u32; 2]> {
    match text.split_once(':') {
        Some((group, binding)) => Some([group.trim().parse().ok()?, binding.trim().parse().ok()?]),
        None => Some([0, text.trim().parse().ok()?]),
    }
}

fn parse_fill(text: &str) -> Option<Fill> {
    Some(match text {
        "rand" => Fill::Rand(None),
        "zeros" => Fill::Zeros,
        "ones" => Fill::Ones,
        "iota" => Fill::Iota,
        path if path.to_ascii_lowercase().ends_with(".npy") => Fill::File(PathBuf::from(path)),
        text => match text.strip_prefix("rand:") {
            Some(range) => {
                let (low, high) = range.split_once("..")?;
                let (low, high): (f64, f64) = (low.parse().ok()?, high.parse().ok()?);
                (low < high).then_some(Fill::Rand(Some(low..high)))?
            }
            None => Fill::Values(text.split(',').map(|value| parse_value(value.trim())).collect::<Option<_>>()?),
        },
    })
}

fn parse_value(text: &str) -> Option<Value> {
    if let Some(digits) = text.strip_prefix("0x") {
        let (digits, element) = match digits.strip_suffix(['u', 'i']) {
            Some(digits) => (digits, text.chars().last().and_then(Element::of_suffix)),
            None => (digits, None),
        };
        return Some(Value { number: f64::from(u32::from_str_radix(digits, 16).ok()?), element });
    }
    // `inf` is a number that ends like an f32, but no suffix.
    if let Ok(number) = text.parse() {
        return Some(Value { number, element: None });
    }
    let suffix = text.chars().last()?;
    let number = text.strip_suffix(suffix)?.parse().ok()?;
    Some(Value { number, element: Some(Element::of_suffix(suffix)?) })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn binding(text: &str) -> Binding {
        text.parse().unwrap()
    }

    fn words(text: &str) -> Vec<u32> {
        let bytes = binding(text).bytes(1).unwrap();
        bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    #[test]
    fn all_parts_of_a_binding_are_read() {
        let parsed = binding("1:12=f16[8*4]:iota");
        let wanted = Binding { group: 1, binding: 12, element: Element::F16, len: Some(32), fill: Fill::Iota };
        assert_eq!(parsed, wanted);
        assert_eq!(binding("3=u32[4]:zeros").at(), [0, 3]);
        assert_eq!(binding("0:0=f32[]:dir/a:b=c.npy").fill, Fill::File("dir/a:b=c.npy".into()));
        assert_eq!(binding("0:0=i32[9]:rand:-3..4").fill, Fill::Rand(Some(-3.0..4.0)));
    }

    #[test]
    fn mixed_numbers_make_a_uniform_block() {
        let block = "0:0=u32[5]:64,0xffu,0.5f,-7i,3";
        assert_eq!(words(block), [64, 255, 0.5f32.to_bits(), (-7i32).cast_unsigned(), 3]);
        assert_eq!(words("0:0=f32[3]:2.5"), [2.5f32.to_bits(); 3]);
        assert_eq!(words("0:0=f32:inf,1"), [f32::INFINITY.to_bits(), 1f32.to_bits()]);
        assert_eq!(words("0:0=f16[4]:1,-2,65504,0"), [0xc000_3c00, 0x7bff]);
    }

    #[test]
    fn random_numbers_stay_in_their_range_and_come_from_the_seed() {
        let a = binding("0:0=f32[1000]:rand").bytes(7).unwrap();
        assert_eq!(a, binding("0:0=f32[1000]:rand").bytes(7).unwrap());
        assert_ne!(a, binding("0:0=f32[1000]:rand").bytes(8).unwrap());
        assert_ne!(a, binding("0:1=f32[1000]:rand").bytes(7).unwrap());
        let numbers: Vec<f64> = words("0:0=f32[1000]:rand").iter().map(|w| f64::from(f32::from_bits(*w))).collect();
        assert!(numbers.iter().all(|x| (-1.0..1.0).contains(x)) && numbers.iter().any(|x| *x < -0.9));
        let mut small = words("0:0=u32[1000]:rand:2..5");
        small.sort_unstable();
        small.dedup();
        assert_eq!(small, [2, 3, 4]);
    }

    #[test]
    fn what_cannot_be_bound_is_told() {
        for (text, told) in [
            ("0:0", "wanted G:B=TYPE[LEN]:FILL"),
            ("0:0=f64[3]:zeros", "\"f64\" is no f32, f16, u32 or i32"),
            ("0:0=f32[3:zeros", "wanted G:B="),
            ("0:0=f32[-3]:zeros", "-3 is no length"),
            ("0:0=f32[99999999999*99999999999]:zeros", "is no length"),
            ("0:0=f32[3]:random", "\"random\" is no fill"),
            ("0:0=f32[3]:rand:5..2", "is no fill"),
            ("0:0=f32[]:zeros", "needs a length, such as f32[1024]"),
            ("a:0=f32[3]:zeros", "wanted G:B="),
        ] {
            let error = text.parse::<Binding>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("--bind: {text}: ")) && error.contains(told), "{error}");
        }
        for (text, told) in [
            ("0:0=u32[2]:1,2,3", "--bind 0:0: has 3 numbers for 2 elements"),
            ("0:0=u32[1]:-1", "--bind 0:0: -1 is no u32"),
            ("0:0=i32[1]:0.5", "--bind 0:0: 0.5 is no i32"),
            ("0:0=f32[1]:no/such.npy", "no/such.npy: cannot read"),
        ] {
            let error = binding(text).bytes(0).unwrap_err().to_string();
            assert!(error.starts_with(told), "{error}");
        }
    }
}
