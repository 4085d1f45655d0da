// The matrices of devices whose matrix units multiply 8x8 by 8x8: half-precision factors, single-precision sums.
enable f16;
enable wgpu_cooperative_matrix;
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sum = coop_mat8x8<f32, C>;
const MATRIX: u32 = 8u;
