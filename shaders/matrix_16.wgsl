// The matrices of devices whose matrix units multiply 16x16 by 16x16: half-precision factors, single-precision sums.
enable f16;
enable wgpu_cooperative_matrix;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;
const MATRIX: u32 = 16u;
