// Philox 4x32-10: four random words for a counter and a key (Salmon et al. 2011), and standard normals from them
// (Wichura's AS 241, PPND7). WGSL promises sin and cos only to 2^-11, so nothing here uses them.

// High word of a 32 x 32 bit product: WGSL has no such instruction.
fn multiply_high(a: u32, b: u32) -> u32 {
    let a_low = a & 0xffffu;
    let a_high = a >> 16u;
    let b_low = b & 0xffffu;
    let b_high = b >> 16u;
    let middle = a_high * b_low + ((a_low * b_low) >> 16u);
    let carry = a_low * b_high + (middle & 0xffffu);
    return a_high * b_high + (middle >> 16u) + (carry >> 16u);
}

fn philox(counter_in: vec4<u32>, key_in: vec2<u32>) -> vec4<u32> {
    var counter = counter_in;
    var key = key_in;
    for (var round = 0u; round < 10u; round++) {
        let high_a = multiply_high(counter.x, 0xd2511f53u);
        let low_a = counter.x * 0xd2511f53u;
        let high_b = multiply_high(counter.z, 0xcd9e8d57u);
        let low_b = counter.z * 0xcd9e8d57u;
        counter = vec4<u32>(high_b ^ counter.y ^ key.x, low_b, high_a ^ counter.w ^ key.y, low_a);
        key += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    }
    return counter;
}

fn normal_from_bits(bits: u32) -> f32 {
    let tail = (f32(bits & 0x7fffffffu) + 0.5) * 2.3283064365386963e-10;
    let q = 0.5 - tail;
    var z: f32;
    if (q <= 0.425) {
        let r = 0.180625 - q * q;
        z = q * (((59.109375 * r + 159.29113) * r + 50.43427) * r + 3.3871327)
            / (((67.18756 * r + 78.75776) * r + 17.89517) * r + 1.0);
    } else {
        let s = sqrt(-log(tail));
        if (s <= 5.0) {
            let r = s - 1.6;
            z = (((0.17023821 * r + 1.3067285) * r + 2.7568154) * r + 1.4234373)
                / ((0.12021133 * r + 0.73700164) * r + 1.0);
        } else {
            let r = s - 5.0;
            z = (((0.017337204 * r + 0.42868294) * r + 3.0812264) * r + 6.657905)
                / ((0.012258203 * r + 0.24197894) * r + 1.0);
        }
    }
    return select(z, -z, (bits >> 31u) == 0u);
}
