//! The numbers of a data set: in memory, or mapped from a file that the system reads when they are looked at.

use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::sync::Arc;

/// Numbers that are cheap to clone and to hand to another thread; a slice to their reader.
#[derive(Clone)]
pub struct Numbers<T> {
    place: Place<T>,
    /// How many of them count.
    len: usize,
}

#[derive(Clone)]
enum Place<T> {
    Memory(Arc<Vec<T>>),
    /// The bytes of a file from an offset on.
    File(Arc<Mmap>, usize),
}

impl Numbers<u8> {
    /// The bytes of `file` from `offset` to its end. Nothing is read yet, and what was read may be dropped by the system
    /// and read again: data sets larger than memory are possible.
    ///
    /// # Errors
    /// If the file is shorter, or the system does not map it.
    pub(super) fn map(file: &File, offset: usize) -> io::Result<Self> {
        // SAFETY: files of the cache are never changed in place, only replaced by a rename, which leaves the mapped one.
        let map = unsafe { Mmap::map(file)? };
        let len = map.len().checked_sub(offset).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Self { place: Place::File(Arc::new(map), offset), len })
    }
}

impl<T> Numbers<T> {
    /// Keeps the first `len`.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl<T: bytemuck::Pod> Numbers<T> {
    /// The numbers as a vector of their own, to add others to.
    pub(super) fn into_vec(self) -> Vec<T> {
        match self.place {
            Place::Memory(vec) => {
                let mut vec = Arc::unwrap_or_clone(vec);
                vec.truncate(self.len);
                vec
            }
            Place::File(..) => self.to_vec(),
        }
    }
}

impl<T> From<Vec<T>> for Numbers<T> {
    fn from(vec: Vec<T>) -> Self {
        Self { len: vec.len(), place: Place::Memory(Arc::new(vec)) }
    }
}

impl<T> FromIterator<T> for Numbers<T> {
    fn from_iter<I: IntoIterator<Item = T>>(numbers: I) -> Self {
        numbers.into_iter().collect::<Vec<T>>().into()
    }
}

impl<T: bytemuck::Pod> Deref for Numbers<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.place {
            Place::Memory(vec) => &vec[..self.len],
            Place::File(map, offset) => bytemuck::cast_slice(&map[*offset..*offset + self.len * size_of::<T>()]),
        }
    }
}

impl<T: bytemuck::Pod + PartialEq> PartialEq for Numbers<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: bytemuck::Pod + std::fmt::Debug> std::fmt::Debug for Numbers<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn mapped_numbers_are_those_of_the_file_and_survive_its_replacement() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        std::fs::write(&path, [9, 9, 1, 2, 3, 4]).unwrap();
        let mut mapped = Numbers::map(&File::open(&path).unwrap(), 2).unwrap();
        let memory = Numbers::from(vec![1, 2, 3, 4]);
        assert_eq!(mapped, memory);
        let other = folder.path().join("other");
        std::fs::write(&other, [0; 6]).unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(mapped, memory, "a renamed file does not change the one that is mapped");
        mapped.truncate(3);
        assert_eq!(*mapped, [1, 2, 3]);
        assert_eq!(mapped.into_vec(), [1, 2, 3]);
        assert!(Numbers::map(&File::open(&path).unwrap(), 7).is_err());
    }
}
