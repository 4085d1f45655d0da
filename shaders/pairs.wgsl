// Four words at a time, read as two of 64 bits. llvmpipe (Mesa 22.3, LLVM 15, AVX2) spends about 22 cycles on each lane
// of each load, whether 4 or 8 bytes wide: the word goes into its vector by way of the stack. Stores are cheaper (about 6).
fn words(v: vec2<u64>) -> vec4<u32> { return vec4<u32>(u32(v.x), u32(v.x >> 32u), u32(v.y), u32(v.y >> 32u)); }
fn reals(v: vec2<u64>) -> vec4<f32> { return bitcast<vec4<f32>>(words(v)); }
