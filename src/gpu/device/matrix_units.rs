//! Matrix units: which an adapter has, and the device opened with them.

use super::{Adapter, Gpu};
use crate::kernel::MatrixUnits;

/// Matrix units, which are experimental in wgpu.
pub(super) const MATRIX_UNITS: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;

impl Adapter {
    /// The matrix units that kernels could use, half-precision factors and single-precision sums; none where there are
    /// none, or none of square matrices.
    pub fn matrix_units(&self) -> Option<MatrixUnits> {
        if !self.adapter.features().contains(MATRIX_UNITS | wgpu::Features::SHADER_F16) {
            return None;
        }
        let (half, single) = (wgpu::CooperativeScalarType::F16, wgpu::CooperativeScalarType::F32);
        let properties = self.adapter.cooperative_matrix_properties();
        let fits = |size: u32| {
            let sizes = move |p: &wgpu::CooperativeMatrixProperties| [p.m_size, p.n_size, p.k_size] == [size; 3];
            properties.iter().any(|p| sizes(p) && (p.ab_type, p.cr_type) == (half, single))
        };
        let info = self.adapter.get_info();
        // Metal is said to have groups of 4 to 64, but every GPU of Apple's with matrix units has 32.
        let lanes = if info.backend == wgpu::Backend::Metal { 32 } else { info.subgroup_max_size };
        [16, 8].into_iter().find(|&size| fits(size)).map(|size| MatrixUnits { size, lanes })
    }

    /// Opens the device with its matrix units. None where it has no such units or its driver refuses.
    pub(in crate::gpu) fn open_with_matrix_units(&self) -> Option<Gpu> {
        self.matrix_units()?;
        self.open_with(false, self.adapter.limits(), self.opened_features() | MATRIX_UNITS).ok()
    }
}
