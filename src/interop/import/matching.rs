//! Which tensor of a file is which tensor of the network.

use super::names::{self, Name};
use super::slots::{Group, Slot};
use super::source::{Source, Tensor};
use crate::error::{Error, Result};

/// What fills a slot.
pub(super) struct Filled<'a> {
    pub(super) slot: Slot,
    /// None where the layer was made without such a tensor.
    pub(super) tensor: Option<&'a Tensor>,
}

/// Tensors of the file that belong together, by their names.
struct Candidate<'a> {
    key: &'a str,
    members: Vec<(Option<super::slots::Role>, &'a Tensor)>,
}

/// Finds a tensor for every slot: those that `map` names (ours, theirs), those that are called as ours, and the rest by
/// order and shape.
///
/// # Errors
/// [`Error::File`] naming the first tensor that does not fit, and [`Error::Setting`] for a map that names nothing.
pub(super) fn assign<'a>(groups: Vec<Group>, source: &'a Source, map: &[(String, String)]) -> Result<Vec<Filled<'a>>> {
    let mut matching = Matching { source, left: source.tensors.iter().collect(), filled: Vec::new() };
    let mut groups = groups;
    for (ours, theirs) in map {
        matching.map(&mut groups, ours, theirs)?;
    }
    for group in &mut groups {
        let (named, rest) = group.slots.drain(..).partition(|slot| matching.has(&slot.name));
        group.slots = rest;
        for slot in named {
            let name = slot.name.clone();
            matching.fill(slot, &name)?;
        }
    }
    groups.retain(|group| !group.slots.is_empty());
    if matching.is_sequence() {
        matching.in_sequence(groups)?;
    } else {
        matching.by_layers(groups)?;
    }
    match matching.left.first() {
        Some(tensor) => Err(matching.problem(&format!("{} belongs to no layer of this network", told(tensor)))),
        None => Ok(matching.filled),
    }
}

struct Matching<'a> {
    source: &'a Source,
    /// Tensors that are not yet used.
    left: Vec<&'a Tensor>,
    filled: Vec<Filled<'a>>,
}

impl<'a> Matching<'a> {
    fn has(&self, name: &str) -> bool {
        self.left.iter().any(|tensor| tensor.name == name)
    }

    fn problem(&self, problem: &str) -> Error {
        Error::file(&self.source.path, problem)
    }

    /// Fills the slots of a layer or a single one as the user says.
    fn map(&mut self, groups: &mut [Group], ours: &str, theirs: &str) -> Result<()> {
        let flag = || format!("--map {ours}={theirs}");
        for group in groups.iter_mut() {
            if let Some(at) = group.slots.iter().position(|slot| slot.name == ours) {
                let slot = group.slots.remove(at);
                return self.fill(slot, theirs);
            }
        }
        let Some(group) = groups.iter_mut().find(|group| group.name == ours && !group.slots.is_empty()) else {
            let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
            let problem = format!("there is no {ours} left to be filled: the network has {}", names.join(", "));
            return Err(Error::setting(flag(), problem));
        };
        let candidates = self.candidates();
        let Some(candidate) = candidates.iter().find(|candidate| candidate.key == theirs) else {
            let keys: Vec<&str> = candidates.iter().map(|candidate| candidate.key).collect();
            let problem = format!("the file has no {theirs}: it has {}", keys.join(", "));
            return Err(Error::setting(flag(), problem));
        };
        if !candidate.fits(group) {
            let problem = format!("{} is not what {} takes: {}", candidate.told(), group.name, wanted(group));
            return Err(Error::setting(flag(), problem));
        }
        self.take(std::mem::take(&mut group.slots), candidate);
        Ok(())
    }

    /// Fills `slot` with the tensor of this name.
    fn fill(&mut self, slot: Slot, name: &str) -> Result<()> {
        let Some(at) = self.left.iter().position(|tensor| tensor.name == name) else {
            return Err(self.problem(&format!("has no tensor {name:?} for {}", slot.name)));
        };
        let tensor = self.left.remove(at);
        self.expect(&slot, tensor)?;
        self.filled.push(Filled { slot, tensor: Some(tensor) });
        Ok(())
    }

    fn expect(&self, slot: &Slot, tensor: &Tensor) -> Result<()> {
        if tensor.shape == slot.stored {
            return Ok(());
        }
        let wanted = shape(&slot.stored);
        Err(self.problem(&format!("{} does not fit {}, which takes {wanted}", told(tensor), slot.name)))
    }

    /// Whether the names say nothing but the order does.
    fn is_sequence(&self) -> bool {
        let nameless = self.left.iter().all(|tensor| Name::of(&tensor.name).role.is_none());
        let numbered = self.left.windows(2).all(|two| names::are_numbered(&two[0].name, &two[1].name));
        nameless && (self.source.is_ordered || numbered)
    }

    /// One tensor after the other.
    fn in_sequence(&mut self, groups: Vec<Group>) -> Result<()> {
        for slot in groups.into_iter().flat_map(|group| group.slots) {
            let Some(tensor) = self.left.first().copied() else {
                let has = self.source.tensors.len();
                let wanted = format!("{} {}", slot.name, shape(&slot.stored));
                return Err(self.problem(&format!("has too few tensors: after its {has} there is none for {wanted}")));
            };
            self.expect(&slot, tensor)?;
            self.left.remove(0);
            self.filled.push(Filled { slot, tensor: Some(tensor) });
        }
        Ok(())
    }

    /// For each layer the first layer of the file that fits.
    fn by_layers(&mut self, groups: Vec<Group>) -> Result<()> {
        for group in groups {
            let candidates = self.candidates();
            let mut fitting = candidates.iter().filter(|candidate| candidate.fits(&group));
            let Some(first) = fitting.next() else { return Err(self.misfit(&group, &candidates)) };
            let unclear = |other: &&Candidate<'_>| !self.source.is_ordered && !names::are_ordered(first.key, other.key);
            if let Some(other) = fitting.find(unclear) {
                let (one, two, name) = (first.key, other.key, &group.name);
                let problem = format!("both {one} and {two} fit {name}: say which it is by --map {name}={one}");
                return Err(self.problem(&problem));
            }
            self.take(group.slots, first);
        }
        Ok(())
    }

    fn misfit(&self, group: &Group, candidates: &[Candidate<'_>]) -> Error {
        let wanted = format!("{}, which takes {}", group.name, wanted(group));
        let next = candidates.iter().find(|candidate| candidate.may_be_on(group.side));
        self.problem(&match next {
            Some(candidate) => format!("nothing fits {wanted}: the next in the file is {}", candidate.told()),
            None => format!("nothing is left for {wanted}"),
        })
    }

    fn take(&mut self, slots: Vec<Slot>, candidate: &Candidate<'a>) {
        let alone = slots.len() == 1;
        for slot in slots {
            let fits = |(role, _): &&(Option<_>, _)| *role == Some(slot.role) || role.is_none() && alone;
            let tensor = candidate.members.iter().find(fits).map(|(_, tensor)| *tensor);
            self.left.retain(|left| tensor.is_none_or(|tensor| tensor.name != left.name));
            self.filled.push(Filled { slot, tensor });
        }
    }

    /// The tensors that are left, layer by layer as their names have it.
    fn candidates(&self) -> Vec<Candidate<'a>> {
        let mut candidates: Vec<Candidate<'a>> = Vec::new();
        for &tensor in &self.left {
            let Name { key, role } = Name::of(&tensor.name);
            match candidates.iter_mut().find(|candidate| candidate.key == key) {
                Some(candidate) => candidate.members.push((role, tensor)),
                None => candidates.push(Candidate { key, members: vec![(role, tensor)] }),
            }
        }
        candidates
    }
}

impl Candidate<'_> {
    /// Whether these are the tensors of such a layer, none too many and none missing that it cannot do without.
    fn fits(&self, group: &Group) -> bool {
        if !self.may_be_on(group.side) || group.head.is_some_and(|head| names::is_other_head(self.key, head)) {
            return false;
        }
        if let ([slot], [(None, tensor)]) = (&group.slots[..], &self.members[..]) {
            return tensor.shape == slot.stored;
        }
        let of = |slot: &Slot| self.members.iter().filter(|(role, _)| *role == Some(slot.role)).collect::<Vec<_>>();
        let mut used = 0;
        group.slots.iter().all(|slot| match of(slot)[..] {
            [(_, tensor)] => {
                used += 1;
                tensor.shape == slot.stored
            }
            [] => slot.start.is_some(),
            _ => false,
        }) && used == self.members.len()
    }

    fn may_be_on(&self, side: crate::model::Side) -> bool {
        names::side(self.key).is_none_or(|hinted| hinted == side)
    }

    fn told(&self) -> String {
        let members: Vec<String> = self.members.iter().map(|(_, tensor)| told(tensor)).collect();
        members.join(", ")
    }
}

fn told(tensor: &Tensor) -> String {
    format!("tensor {:?} {}", tensor.name, shape(&tensor.shape))
}

fn wanted(group: &Group) -> String {
    let names = group.slots.iter().map(|slot| {
        let name = slot.name.rsplit('.').next().unwrap_or(&slot.name);
        format!("{name} {}", shape(&slot.stored))
    });
    names.collect::<Vec<_>>().join(", ")
}

/// As Python prints it.
fn shape(dims: &[usize]) -> String {
    match dims {
        [one] => format!("({one},)"),
        _ => format!("({})", dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}
