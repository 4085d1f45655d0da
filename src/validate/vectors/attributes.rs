//! The attributes of a case, typed and by name.

use super::Problem;
use crate::op::Padding;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Largest number of pixels that an attribute may ask for: the reference visits every tap of a window.
const MAX_EXTENT: u64 = 4096;

/// Other frameworks' names of some attributes.
const ALIASES: [(&str, &str); 6] = [
    ("beta_1", "beta1"),
    ("b1", "beta1"),
    ("beta_2", "beta2"),
    ("b2", "beta2"),
    ("epsilon", "eps"),
    ("eps", "epsilon"),
];

/// The padding of a window as a case gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sides {
    /// As frameworks name it.
    Named(Padding),
    /// Pixels at the top, bottom, left and right.
    Explicit([usize; 4]),
}

/// The attributes of a case of an op, all of them known to the op.
#[derive(Debug)]
pub(super) struct Attributes<'a> {
    op: &'a str,
    values: BTreeMap<&'a str, &'a Value>,
}

impl<'a> Attributes<'a> {
    /// Checks that the op knows all of them. `null` counts as left out.
    pub(super) fn new(op: &'a str, known: &[&str], given: &'a Map<String, Value>) -> Result<Self, Problem> {
        let mut values = BTreeMap::new();
        for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
            let name = name.as_str();
            let alias = ALIASES.iter().find(|(alias, own)| *alias == name && known.contains(own));
            let own = if known.contains(&name) { Some(name) } else { alias.map(|&(_, own)| own) };
            let own = own.ok_or_else(|| Problem::Unsupported(format!("{op} with attribute `{name}`")))?;
            if values.insert(own, value).is_some() {
                return Err(Problem::Wrong(format!("{op}: attribute `{own}` is given twice")));
            }
        }
        Ok(Self { op, values })
    }

    /// That the value of this attribute is one that the op cannot have.
    pub(super) fn unsupported(&self, name: &str) -> Problem {
        let value = self.values.get(name).map_or_else(|| "left out".to_owned(), ToString::to_string);
        Problem::Unsupported(format!("{} with {name} = {value}", self.op))
    }

    fn wrong(&self, name: &str, wanted: &str) -> Problem {
        match self.values.get(name) {
            Some(value) => Problem::Wrong(format!("{}: {name} must be {wanted}, got {value}", self.op)),
            None => Problem::Wrong(format!("{}: attribute `{name}` is missing", self.op)),
        }
    }

    /// A number, if it is given.
    pub(super) fn optional_number(&self, name: &str) -> Result<Option<f64>, Problem> {
        let number = |value: &&Value| value.as_f64().filter(|n| n.is_finite());
        self.values.get(name).map(|value| number(value).ok_or_else(|| self.wrong(name, "a number"))).transpose()
    }

    /// A number that must be given.
    pub(super) fn number(&self, name: &str) -> Result<f64, Problem> {
        self.optional_number(name)?.ok_or_else(|| self.wrong(name, "a number"))
    }

    /// A number, or what it is where the case leaves it out.
    pub(super) fn number_or(&self, name: &str, default: f64) -> Result<f64, Problem> {
        Ok(self.optional_number(name)?.unwrap_or(default))
    }

    /// A truth value, as such or as 0 and 1; `false` where it is left out.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.values.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(value) => match value.as_u64() {
                Some(number @ (0 | 1)) => Ok(number == 1),
                _ => Err(self.wrong(name, "true or false")),
            },
        }
    }

    /// The number of an update, from one.
    pub(super) fn step(&self) -> Result<u64, Problem> {
        let Some(value) = self.values.get("t") else { return Ok(1) };
        whole(value).filter(|&t| t > 0).ok_or_else(|| self.wrong("t", "a whole number from 1"))
    }

    /// One of several values by name, the first where it is left out.
    pub(super) fn choice<T: Copy>(&self, name: &str, values: &[(&str, T)]) -> Result<T, Problem> {
        let found = match self.values.get(name) {
            None => values.first(),
            Some(Value::String(text)) => values.iter().find(|(value, _)| value == text),
            Some(_) => return Err(self.wrong(name, "a name")),
        };
        found.map(|&(_, value)| value).ok_or_else(|| self.unsupported(name))
    }

    /// Height and width: `[h, w]`, or one number for both. Zero is refused.
    pub(super) fn pair(&self, name: &str) -> Result<Option<[usize; 2]>, Problem> {
        let Some(value) = self.values.get(name) else { return Ok(None) };
        let numbers = match value {
            Value::Array(_) => self.extents(name)?,
            _ => {
                let number = self.extent(name, value, "a whole number or [height, width]")?;
                vec![number, number]
            }
        };
        let pair =
            <[usize; 2]>::try_from(numbers).map_err(|_| self.wrong(name, "a whole number or [height, width]"))?;
        if pair.contains(&0) { Err(self.unsupported(name)) } else { Ok(Some(pair)) }
    }

    /// Height and width that must be given.
    pub(super) fn required_pair(&self, name: &str) -> Result<[usize; 2], Problem> {
        self.pair(name)?.ok_or_else(|| self.wrong(name, "a whole number or [height, width]"))
    }

    /// `"same"`, `"valid"` (where it is left out, too) or `[top, bottom, left, right]`.
    pub(super) fn padding(&self) -> Result<Sides, Problem> {
        const NAME: &str = "padding";
        if !matches!(self.values.get(NAME), Some(Value::Array(_))) {
            let names = [("valid", Padding::Valid), ("same", Padding::Same)];
            return self.choice(NAME, &names).map(Sides::Named);
        }
        let sides = <[usize; 4]>::try_from(self.extents(NAME)?);
        sides.map(Sides::Explicit).map_err(|_| self.wrong(NAME, "\"same\", \"valid\" or [top, bottom, left, right]"))
    }

    /// A list of sizes.
    fn extents(&self, name: &str) -> Result<Vec<usize>, Problem> {
        let list = self.values.get(name).and_then(|value| value.as_array());
        list.into_iter().flatten().map(|value| self.extent(name, value, "a list of whole numbers")).collect()
    }

    fn extent(&self, name: &str, value: &Value, wanted: &str) -> Result<usize, Problem> {
        if value.as_f64().is_none_or(|number| number.fract() != 0.0) {
            return Err(self.wrong(name, wanted));
        }
        let extent = whole(value).filter(|&number| number <= MAX_EXTENT).and_then(|n| usize::try_from(n).ok());
        extent.ok_or_else(|| self.unsupported(name))
    }
}

/// A whole number that is not negative, also where a program wrote `2.0`.
fn whole(value: &Value) -> Option<u64> {
    let exact = |number: &f64| number.fract() == 0.0 && (0.0..=9e15).contains(number);
    value.as_u64().or_else(|| value.as_f64().filter(exact).map(|number| number as u64))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const KNOWN: [&str; 8] = ["stride", "padding", "t", "on", "eps", "beta1", "convention", "lr"];

    fn with<T>(json: &str, read: impl Fn(&Attributes<'_>) -> Result<T, Problem>) -> Result<T, Problem> {
        read(&Attributes::new("op", &KNOWN, &serde_json::from_str(json).unwrap())?)
    }

    #[test]
    fn values_come_in_every_spelling() {
        assert_eq!(with(r#"{"stride": 2}"#, |a| a.pair("stride")), Ok(Some([2, 2])));
        assert_eq!(with(r#"{"stride": [2, 3.0]}"#, |a| a.pair("stride")), Ok(Some([2, 3])));
        assert_eq!(with(r#"{"stride": null}"#, |a| a.pair("stride")), Ok(None));
        assert_eq!(with("{}", |a| a.padding()), Ok(Sides::Named(Padding::Valid)));
        assert_eq!(with(r#"{"padding": "same"}"#, |a| a.padding()), Ok(Sides::Named(Padding::Same)));
        assert_eq!(with(r#"{"padding": [0, 1, 2, 3]}"#, |a| a.padding()), Ok(Sides::Explicit([0, 1, 2, 3])));
        assert_eq!(with(r#"{"on": 1}"#, |a| a.flag("on")), Ok(true));
        assert_eq!(with(r#"{"t": 3}"#, |a| a.step()), Ok(3));
        assert_eq!(
            with(r#"{"epsilon": 1e-7, "beta_1": 0.5}"#, |a| Ok((a.number("eps")?, a.number("beta1")?))),
            Ok((1e-7, 0.5))
        );
    }

    #[test]
    fn unsupported_and_malformed_are_told_apart() {
        let unsupported = |json: &str, found: Result<(), Problem>| match found {
            Err(Problem::Unsupported(what)) => what,
            other => panic!("{json}: {other:?}"),
        };
        let pair = |json: &str| with(json, |a| a.pair("stride").map(drop));
        let padding = |json: &str| with(json, |a| a.padding().map(drop));
        for json in [r#"{"stride": 0}"#, r#"{"stride": [1, -2]}"#, r#"{"stride": 1e12}"#] {
            assert!(unsupported(json, pair(json)).starts_with("op with stride = "));
        }
        for json in [r#"{"padding": "reflect"}"#, r#"{"padding": [0, -1, 0, 0]}"#] {
            assert!(unsupported(json, padding(json)).starts_with("op with padding = "));
        }
        assert_eq!(unsupported("groups", pair(r#"{"groups": 1}"#)), "op with attribute `groups`");
        for json in [r#"{"stride": "2"}"#, r#"{"stride": [1, 2, 3]}"#, r#"{"stride": 1.5}"#, r#"{"stride": []}"#] {
            assert!(matches!(pair(json), Err(Problem::Wrong(_))), "{json}");
        }
        for json in [r#"{"padding": [1, 1]}"#, r#"{"padding": 1}"#, r#"{"padding": ["a", 0, 0, 0]}"#] {
            assert!(matches!(padding(json), Err(Problem::Wrong(_))), "{json}");
        }
        assert!(matches!(with(r#"{"t": 0}"#, |a| a.step()), Err(Problem::Wrong(_))));
        assert!(matches!(with(r#"{"eps": 1, "epsilon": 1}"#, |_| Ok(())), Err(Problem::Wrong(_))));
        let missing = with("{}", |a| a.number("lr")).unwrap_err();
        assert_eq!(missing, Problem::Wrong("op: attribute `lr` is missing".to_owned()));
    }
}
