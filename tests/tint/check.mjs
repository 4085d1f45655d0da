// Compiles every kernel with a second WGSL compiler: Tint, Chromium's, from the npm package `webgpu` (Dawn). It runs on
// Dawn's null backend, so it needs neither a GPU nor a driver.
//
//     DEGRAIN_DUMP_SHADERS=DIR cargo test --release --test portability   writes the kernels, one file each
//     cp tests/tint/* ELSEWHERE && cd ELSEWHERE && npm install && node check.mjs DIR
//
// DEGRAIN_TINT=1 .ci/run does both. Every message is printed; the exit code is 1 if a kernel is refused, or warned
// about, or if there is none.
//
// What WGSL says otherwise than naga is put right before compiling, and nothing else:
// - naga refuses the line `enable subgroups;`, which WGSL asks for: kernels with subgroup operations get it.
// - WGSL has no integers of 64 bits. Kernels that read pairs of words through them (software drivers only; pairs.wgsl)
//   get the same four words as a vec4<u32>, so that the rest of the module is compiled all the same.
// Kernels for matrix units are left out, and counted: Tint has no cooperative matrices.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { create, globals } from 'webgpu';

Object.assign(globalThis, globals);

function standard(text) {
  let code = text
    .replaceAll('vec2<u64>', 'vec4<u32>')
    .replace(/^fn words\(v: vec4<u32>\) -> vec4<u32> \{.*$/m, 'fn words(v: vec4<u32>) -> vec4<u32> { return v; }');
  // On the first line, which is a comment in every file, so that the numbers of the lines stay as they are.
  if (/\bsubgroup[A-Z]/.test(code)) code = 'enable subgroups; ' + code;
  return code;
}

async function messages(device, code) {
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code });
  const found = (await module.getCompilationInfo()).messages.map(
    (m) => `${m.lineNum}:${m.linePos}: ${m.type}: ${m.message}\n    ${code.split('\n')[m.lineNum - 1]?.trim()}`,
  );
  const error = await device.popErrorScope();
  return found.length || !error ? found : [error.message];
}

const folder = process.argv[2];
if (!folder) {
  console.error('usage: node check.mjs FOLDER');
  process.exit(2);
}
// Kept: what it creates waits for ever once it is collected.
const gpu = create(['backend=null']);
const adapter = await gpu.requestAdapter();
const device = await adapter.requestDevice({ requiredFeatures: ['subgroups'] });
const files = readdirSync(folder).filter((name) => name.endsWith('.wgsl')).sort();
let refused = 0;
let leftOut = 0;
for (const file of files) {
  const text = readFileSync(join(folder, file), 'utf8');
  if (text.includes('enable wgpu_cooperative_matrix;')) {
    leftOut += 1;
    continue;
  }
  const found = await messages(device, standard(text));
  found.forEach((message) => console.log(`${file}:${message}`));
  refused += found.length > 0;
}
const compiled = files.length - leftOut;
console.log(`Tint: ${compiled - refused} of ${compiled} kernels compile without a message; ${leftOut} for matrix units left out`);
process.exit(refused || !compiled ? 1 : 0);
