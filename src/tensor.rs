//! Shapes, element types and host values of tensors.

use std::fmt;

/// Extents of a tensor, outermost first; the last axis is contiguous.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// The extents, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// Number of elements: the product of the extents, 1 for a scalar.
    pub fn len(&self) -> usize {
        self.0.iter().product()
    }

    /// Whether some extent is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The index along each axis of the element at this position, row-major; none for a scalar.
    pub fn coordinates(&self, element: usize) -> Vec<usize> {
        let mut left = element;
        let mut at: Vec<usize> = self.0.iter().rev().map(|&n| (left % n.max(1), left /= n.max(1)).0).collect();
        at.reverse();
        at
    }

    /// The contiguous axis; 1 for a scalar.
    pub fn last(&self) -> usize {
        self.0.last().copied().unwrap_or(1)
    }

    /// The extents as `[batch, height, width, channels]`, if there are four.
    pub fn nhwc(&self) -> Option<[usize; 4]> {
        self.0.as_slice().try_into().ok()
    }

    /// The extents as `[rows, columns]`, if there are two.
    pub fn matrix(&self) -> Option<[usize; 2]> {
        self.0.as_slice().try_into().ok()
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Self(dims.to_vec())
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Self {
        Self(dims.to_vec())
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Self {
        Self(dims)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("scalar");
        }
        for (i, dim) in self.0.iter().enumerate() {
            write!(f, "{}{dim}", if i == 0 { "" } else { "x" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Element type of a tensor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// Unsigned words: indices, counters, arg-max.
    U32,
    /// Bytes, packed four to a word; the last axis is padded to whole words.
    U8,
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::U32 => "u32",
            Self::U8 => "u8",
        })
    }
}

/// Shape and element type of a tensor.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TensorType {
    /// Extents.
    pub shape: Shape,
    /// Element type.
    pub dtype: DType,
}

impl TensorType {
    /// A tensor of `f32`.
    pub fn f32(shape: impl Into<Shape>) -> Self {
        Self { shape: shape.into(), dtype: DType::F32 }
    }

    /// A tensor of `u32`.
    pub fn u32(shape: impl Into<Shape>) -> Self {
        Self { shape: shape.into(), dtype: DType::U32 }
    }

    /// A tensor of bytes, packed four to a word.
    pub fn u8(shape: impl Into<Shape>) -> Self {
        Self { shape: shape.into(), dtype: DType::U8 }
    }

    /// Number of 32-bit words that hold this tensor on a device.
    pub fn words(&self) -> usize {
        match self.dtype {
            DType::F32 | DType::U32 => self.shape.len(),
            DType::U8 => self.shape.len() / self.shape.last().max(1) * self.shape.last().div_ceil(4),
        }
    }

    /// Size on a device, in bytes.
    pub fn size_bytes(&self) -> usize {
        4 * self.words()
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.dtype, self.shape)
    }
}

/// What a tensor is for, which decides where it lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Written by the host: the data set, the order of its rows, the learning rate.
    Input,
    /// Trained weights.
    Parameter,
    /// Carried from step to step: optimiser moments, counters, the loss history.
    State,
    /// Written by the step and read by the host.
    Output,
    /// Dead after the step; shares its memory with others.
    Temporary,
}

impl Class {
    /// Whether tensors of this class live in the session's store, under their name.
    pub fn is_persistent(self) -> bool {
        self != Self::Temporary
    }
}

/// A tensor of one graph.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TensorId(pub(crate) usize);

impl TensorId {
    /// Position in the graph's list of tensors.
    pub fn index(self) -> usize {
        self.0
    }
}

/// Host values of a tensor as the reference sees them: reals are stored in `f64`.
#[derive(Clone, PartialEq, Debug)]
pub enum Array {
    /// Reals, exact images of `f32` values or results computed from them.
    F64(Vec<f64>),
    /// Words.
    U32(Vec<u32>),
    /// Bytes without row padding.
    U8(Vec<u8>),
}

impl Array {
    /// Zeros of the given type.
    pub fn zeros(ty: &TensorType) -> Self {
        match ty.dtype {
            DType::F32 => Self::F64(vec![0.0; ty.shape.len()]),
            DType::U32 => Self::U32(vec![0; ty.shape.len()]),
            DType::U8 => Self::U8(vec![0; ty.shape.len()]),
        }
    }

    /// The reals; empty for another type.
    pub fn f64(&self) -> &[f64] {
        if let Self::F64(v) = self { v } else { &[] }
    }

    /// The reals, to write; empty for another type.
    pub fn f64_mut(&mut self) -> &mut [f64] {
        if let Self::F64(v) = self { v } else { &mut [] }
    }

    /// The words; empty for another type.
    pub fn u32(&self) -> &[u32] {
        if let Self::U32(v) = self { v } else { &[] }
    }

    /// The words, to write; empty for another type.
    pub fn u32_mut(&mut self) -> &mut [u32] {
        if let Self::U32(v) = self { v } else { &mut [] }
    }

    /// The bytes; empty for another type.
    pub fn u8(&self) -> &[u8] {
        if let Self::U8(v) = self { v } else { &[] }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F64(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::U8(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The words that a device holds for this tensor: reals rounded to `f32`, bytes packed row by row.
    pub fn to_words(&self, ty: &TensorType) -> Vec<u32> {
        match self {
            Self::F64(v) => v.iter().map(|&x| (x as f32).to_bits()).collect(),
            Self::U32(v) => v.clone(),
            Self::U8(v) => pack_rows(v, ty.shape.last()),
        }
    }

    /// The inverse of [`Array::to_words`].
    pub fn from_words(words: &[u32], ty: &TensorType) -> Self {
        match ty.dtype {
            DType::F32 => Self::F64(words.iter().map(|&w| f64::from(f32::from_bits(w))).collect()),
            DType::U32 => Self::U32(words.to_vec()),
            DType::U8 => {
                let columns = ty.shape.last().max(1);
                let rows = words.chunks(columns.div_ceil(4));
                Self::U8(rows.flat_map(|row| bytemuck::cast_slice::<u32, u8>(row)[..columns].to_vec()).collect())
            }
        }
    }

    /// Absolute values, element by element.
    pub fn abs(&self) -> Self {
        match self {
            Self::F64(v) => Self::F64(v.iter().map(|x| x.abs()).collect()),
            other => other.clone(),
        }
    }
}

/// Packs rows of `columns` bytes into words, each row padded with zeros to whole words.
pub fn pack_rows(bytes: &[u8], columns: usize) -> Vec<u32> {
    let width = columns.max(1).div_ceil(4);
    let mut words = vec![0u32; bytes.len() / columns.max(1) * width];
    for (row, packed) in bytes.chunks_exact(columns.max(1)).zip(words.chunks_exact_mut(width)) {
        bytemuck::cast_slice_mut::<u32, u8>(packed)[..columns].copy_from_slice(row);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_packing_with_padding() {
        let ty = TensorType::u8([3, 5]);
        let array = Array::U8((1..=15).collect());
        let words = array.to_words(&ty);
        assert_eq!(words.len(), ty.words());
        assert_eq!(ty.size_bytes(), 24);
        assert_eq!(words[0], 0x04030201);
        assert_eq!(words[1], 5, "the padding is zero");
        assert_eq!(Array::from_words(&words, &ty), array);
    }

    #[test]
    fn scalar_has_one_element() {
        assert_eq!(Shape::from([]).len(), 1);
        assert_eq!(TensorType::f32([]).size_bytes(), 4);
        assert_eq!(Shape::from([2, 3]).to_string(), "2x3");
    }

    #[test]
    fn coordinates_count_row_by_row() {
        assert_eq!(Shape::from([2, 3, 4]).coordinates(23), [1, 2, 3]);
        assert_eq!(Shape::from([2, 3, 4]).coordinates(5), [0, 1, 1]);
        assert_eq!(Shape::from([]).coordinates(0), [0usize; 0]);
    }
}
