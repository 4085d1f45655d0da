// What optimisers with moments share. The first moment of a parameter whose gradient is zero from some step on decays until it is
// subnormal and stays there, where processors, and with them software drivers, take a hundred times as long.

// x, or zero where it is subnormal.
fn flushed(x: f32) -> f32 { return select(x, 0.0, abs(x) < 0x1p-126f); }
