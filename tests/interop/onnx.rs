//! ONNX models read and run: the file format by its field numbers, and the operators as ONNX's specification defines
//! them, in f64. Shares nothing with the code that writes models.
//!
//! <https://onnx.ai/onnx/operators/>

use prost::Message;
use std::collections::HashMap;

/// `ModelProto`.
#[derive(Clone, PartialEq, Message)]
pub struct Model {
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    #[prost(string, tag = "2")]
    pub producer: String,
    #[prost(string, tag = "6")]
    pub doc: String,
    #[prost(message, required, tag = "7")]
    pub graph: Graph,
    #[prost(message, repeated, tag = "8")]
    pub opsets: Vec<Opset>,
    #[prost(message, repeated, tag = "14")]
    pub metadata: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Opset {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(int64, tag = "2")]
    pub version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Entry {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    pub tensors: Vec<Stored>,
    #[prost(message, repeated, tag = "11")]
    pub inputs: Vec<Info>,
    #[prost(message, repeated, tag = "12")]
    pub outputs: Vec<Info>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Node {
    #[prost(string, repeated, tag = "1")]
    pub inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub outputs: Vec<String>,
    #[prost(string, tag = "4")]
    pub op: String,
    #[prost(message, repeated, tag = "5")]
    pub attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Attribute {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(float, tag = "2")]
    pub f: f32,
    #[prost(int64, tag = "3")]
    pub i: i64,
    #[prost(string, tag = "4")]
    pub s: String,
    #[prost(int64, repeated, tag = "8")]
    pub ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    pub kind: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Stored {
    #[prost(int64, repeated, tag = "1")]
    pub dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub kind: i32,
    #[prost(string, tag = "8")]
    pub name: String,
    #[prost(bytes = "vec", tag = "9")]
    pub raw: Vec<u8>,
}

/// `ValueInfoProto`.
#[derive(Clone, PartialEq, Message)]
pub struct Info {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, required, tag = "2")]
    pub kind: Kind,
}

#[derive(Clone, PartialEq, Message)]
pub struct Kind {
    #[prost(message, required, tag = "1")]
    pub tensor: TensorKind,
}

#[derive(Clone, PartialEq, Message)]
pub struct TensorKind {
    #[prost(int32, tag = "1")]
    pub element: i32,
    #[prost(message, required, tag = "2")]
    pub shape: Dims,
}

#[derive(Clone, PartialEq, Message)]
pub struct Dims {
    #[prost(message, repeated, tag = "1")]
    pub dims: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Dim {
    #[prost(int64, optional, tag = "1")]
    pub value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    pub name: Option<String>,
}

/// An array of f64, row-major; of whole numbers too.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

impl Info {
    /// The shape as text: `N,28,28,1`.
    pub fn shape(&self) -> String {
        assert_eq!(self.kind.tensor.element, 1, "f32");
        let dims = self.kind.tensor.shape.dims.iter();
        let texts = dims.map(|dim| dim.value.map_or_else(|| dim.name.clone().unwrap(), |n| n.to_string()));
        texts.collect::<Vec<_>>().join(",")
    }
}

impl Model {
    pub fn count(&self, op: &str) -> usize {
        self.graph.nodes.iter().filter(|node| node.op == op).count()
    }

    /// The values of all outputs by name.
    pub fn run(&self, input: &str, x: Tensor) -> HashMap<String, Tensor> {
        let mut values: HashMap<String, Tensor> = HashMap::new();
        for stored in &self.graph.tensors {
            assert!(values.insert(stored.name.clone(), stored.read()).is_none(), "{} stands twice", stored.name);
        }
        assert_eq!(self.graph.inputs.len(), 1);
        assert_eq!(self.graph.inputs[0].name, input);
        assert!(values.insert(input.to_owned(), x).is_none());
        for node in &self.graph.nodes {
            let inputs = node.inputs.iter().map(|name| match name.as_str() {
                "" => None,
                name => Some(values.get(name).unwrap_or_else(|| panic!("{name} is used before it is made"))),
            });
            let y = Operator { node }.run(&inputs.collect::<Vec<_>>());
            assert_eq!(node.outputs.len(), 1);
            assert!(values.insert(node.outputs[0].clone(), y).is_none(), "{} is made twice", node.outputs[0]);
        }
        let outputs = self.graph.outputs.iter();
        outputs.map(|output| (output.name.clone(), values[&output.name].clone())).collect()
    }
}

impl Stored {
    fn read(&self) -> Tensor {
        let shape: Vec<usize> = self.dims.iter().map(|&n| n as usize).collect();
        let values: Vec<f64> = match self.kind {
            1 => self.raw.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect(),
            7 => self.raw.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64).collect(),
            other => panic!("{} has type {other}", self.name),
        };
        assert_eq!(values.len(), shape.iter().product::<usize>(), "{}", self.name);
        Tensor { shape, values }
    }
}

/// A node at work.
struct Operator<'a> {
    node: &'a Node,
}

/// A sliding window over two axes.
struct Window {
    kernel: [usize; 2],
    stride: [usize; 2],
    /// Top, left, bottom, right.
    pads: [usize; 4],
}

impl Operator<'_> {
    /// Attributes must be of the types that ONNX gives them, and none may be there that is not asked for.
    fn expect(&self, known: &[(&str, i32)]) {
        for attribute in &self.node.attributes {
            let found = known.contains(&(attribute.name.as_str(), attribute.kind));
            assert!(found, "{} has an attribute {} of type {}", self.node.op, attribute.name, attribute.kind);
        }
    }

    fn get(&self, name: &str) -> Option<&Attribute> {
        self.node.attributes.iter().find(|attribute| attribute.name == name)
    }

    fn ints<const N: usize>(&self, name: &str, default: [usize; N]) -> [usize; N] {
        let found = self.get(name).map(|a| a.ints.iter().map(|&n| n as usize).collect::<Vec<_>>());
        found.map_or(default, |ints| ints.try_into().unwrap())
    }

    fn float(&self, name: &str, default: f32) -> f64 {
        f64::from(self.get(name).map_or(default, |attribute| attribute.f))
    }

    fn window(&self, kernel: [usize; 2]) -> Window {
        assert_eq!(self.ints("kernel_shape", kernel), kernel);
        Window { kernel, stride: self.ints("strides", [1; 2]), pads: self.ints("pads", [0; 4]) }
    }

    fn run(&self, inputs: &[Option<&Tensor>]) -> Tensor {
        let x = inputs[0].unwrap();
        let window = [("kernel_shape", 7), ("strides", 7), ("pads", 7)];
        match self.node.op.as_str() {
            "Identity" => x.clone(),
            "Relu" => self.map(x, &[], |v| if v > 0.0 { v } else { 0.0 }),
            "Sigmoid" => self.map(x, &[], |v| 1.0 / (1.0 + (-v).exp())),
            "Tanh" => self.map(x, &[], f64::tanh),
            "Softplus" => self.map(x, &[], |v| v.max(0.0) + (-v.abs()).exp().ln_1p()),
            "Elu" => {
                let alpha = self.float("alpha", 1.0);
                self.map(x, &[("alpha", 1)], |v| if v < 0.0 { alpha * v.exp_m1() } else { v })
            }
            "LeakyRelu" => {
                let alpha = self.float("alpha", 0.01);
                self.map(x, &[("alpha", 1)], |v| if v < 0.0 { alpha * v } else { v })
            }
            "Transpose" => self.transpose(x),
            "Flatten" => {
                self.expect(&[("axis", 2)]);
                assert_eq!(self.get("axis").map_or(1, |axis| axis.i), 1);
                Tensor { shape: vec![x.shape[0], x.shape[1..].iter().product()], values: x.values.clone() }
            }
            "Reshape" => {
                self.expect(&[]);
                let wanted = inputs[1].unwrap().values.iter().enumerate();
                let shape: Vec<usize> = wanted.map(|(i, &n)| if n == 0.0 { x.shape[i] } else { n as usize }).collect();
                assert_eq!(shape.iter().product::<usize>(), x.values.len());
                Tensor { shape, values: x.values.clone() }
            }
            "Gemm" => self.gemm(x, inputs[1].unwrap(), inputs[2].unwrap()),
            "Conv" => {
                self.expect(&window);
                self.conv(x, inputs[1].unwrap(), inputs[2].unwrap())
            }
            "ConvTranspose" => {
                self.expect(&[&window[..], &[("output_padding", 7)]].concat());
                self.conv_transpose(x, inputs[1].unwrap(), inputs[2].unwrap())
            }
            "MaxPool" => {
                self.expect(&window);
                self.pool(x, |inside, _| inside.iter().copied().fold(f64::NEG_INFINITY, f64::max))
            }
            "AveragePool" => {
                self.expect(&[&window[..], &[("count_include_pad", 2)]].concat());
                let include = self.get("count_include_pad").is_some_and(|include| include.i == 1);
                self.pool(x, |inside, taps| {
                    inside.iter().sum::<f64>() / (if include { taps } else { inside.len() }) as f64
                })
            }
            "Resize" => self.resize(x, inputs[2].unwrap()),
            "BatchNormalization" => self.batch_norm(x, inputs),
            other => panic!("no operator {other}"),
        }
    }

    fn map(&self, x: &Tensor, attributes: &[(&str, i32)], f: impl Fn(f64) -> f64) -> Tensor {
        self.expect(attributes);
        Tensor { shape: x.shape.clone(), values: x.values.iter().map(|&v| f(v)).collect() }
    }

    fn transpose(&self, x: &Tensor) -> Tensor {
        self.expect(&[("perm", 7)]);
        let perm = self.ints("perm", [3, 2, 1, 0]);
        let shape = perm.map(|axis| x.shape[axis]);
        tabulate(shape, |to| {
            let mut from = [0; 4];
            for (axis, index) in perm.iter().zip(to) {
                from[*axis] = index;
            }
            x.at(from)
        })
    }

    fn gemm(&self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
        self.expect(&[("transB", 2)]);
        let transposed = self.get("transB").is_some_and(|transposed| transposed.i == 1);
        let [rows, inner] = x.shape[..] else { panic!("{:?}", x.shape) };
        let outputs = if transposed { weight.shape[0] } else { weight.shape[1] };
        assert_eq!(weight.shape[usize::from(transposed)], inner);
        assert_eq!(bias.shape, [outputs]);
        let mut values = Vec::with_capacity(rows * outputs);
        for row in x.values.chunks(inner) {
            let mut sums = bias.values.clone();
            for (k, v) in row.iter().enumerate() {
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum += v * weight.values[if transposed { j * inner + k } else { k * outputs + j }];
                }
            }
            values.extend(sums);
        }
        Tensor { shape: vec![rows, outputs], values }
    }

    fn conv(&self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
        let ([n, channels, height, width], [outputs, inputs, kh, kw]) = (x.four(), weight.four());
        assert_eq!((inputs, &bias.shape[..]), (channels, &[outputs][..]));
        let window = self.window([kh, kw]);
        let shape = [n, outputs, window.positions(0, height), window.positions(1, width)];
        tabulate(shape, |[n, o, y, x_]| {
            let mut sum = bias.values[o];
            for (a, b, iy, ix) in window.taps([y, x_], [height, width]) {
                for c in 0..channels {
                    sum += x.at([n, c, iy, ix]) * weight.at([o, c, a, b]);
                }
            }
            sum
        })
    }

    /// Each input adds its kernel to the output; what the padding covers is cut off.
    fn conv_transpose(&self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
        let ([n, channels, height, width], [inputs, outputs, kh, kw]) = (x.four(), weight.four());
        assert_eq!((inputs, &bias.shape[..]), (channels, &[outputs][..]));
        let Window { stride, pads, .. } = self.window([kh, kw]);
        let more = self.ints("output_padding", [0; 2]);
        let size = |axis: usize, n: usize, k: usize| {
            assert!(more[axis] < stride[axis]);
            stride[axis] * (n - 1) + more[axis] + k - pads[axis] - pads[axis + 2]
        };
        let shape = [n, outputs, size(0, height, kh), size(1, width, kw)];
        let mut y = tabulate(shape, |[_, o, _, _]| bias.values[o]);
        for n in 0..n {
            for (iy, ix) in (0..height).flat_map(|iy| (0..width).map(move |ix| (iy, ix))) {
                for (a, b) in (0..kh).flat_map(|a| (0..kw).map(move |b| (a, b))) {
                    let at = |i: usize, stride: usize, tap: usize, pad: usize| (i * stride + tap).checked_sub(pad);
                    let Some(oy) = at(iy, stride[0], a, pads[0]).filter(|&oy| oy < shape[2]) else { continue };
                    let Some(ox) = at(ix, stride[1], b, pads[1]).filter(|&ox| ox < shape[3]) else { continue };
                    for c in 0..channels {
                        let v = x.at([n, c, iy, ix]);
                        for o in 0..outputs {
                            y.values[((n * shape[1] + o) * shape[2] + oy) * shape[3] + ox] +=
                                v * weight.at([c, o, a, b]);
                        }
                    }
                }
            }
        }
        y
    }

    /// `reduce` gets what of a window lies inside, and the number of its taps.
    fn pool(&self, x: &Tensor, reduce: impl Fn(&[f64], usize) -> f64) -> Tensor {
        let [n, channels, height, width] = x.four();
        let kernel: [usize; 2] = self.ints("kernel_shape", [0; 2]);
        let window = self.window(kernel);
        assert!(window.pads.iter().enumerate().all(|(i, &pad)| pad < kernel[i % 2]), "as runtimes want it");
        let shape = [n, channels, window.positions(0, height), window.positions(1, width)];
        tabulate(shape, |[n, c, y, x_]| {
            let inside = window.taps([y, x_], [height, width]).into_iter().map(|(_, _, iy, ix)| x.at([n, c, iy, ix]));
            reduce(&inside.collect::<Vec<_>>(), kernel[0] * kernel[1])
        })
    }

    fn resize(&self, x: &Tensor, scales: &Tensor) -> Tensor {
        self.expect(&[("mode", 3), ("coordinate_transformation_mode", 3), ("nearest_mode", 3)]);
        let text = |name| self.get(name).map(|attribute| attribute.s.as_str());
        assert_eq!(text("mode"), Some("nearest"));
        assert_eq!(text("coordinate_transformation_mode"), Some("asymmetric"));
        assert_eq!(text("nearest_mode"), Some("floor"));
        let scales: [f64; 4] = scales.values.clone().try_into().unwrap();
        let mut shape = x.four();
        for (size, scale) in shape.iter_mut().zip(scales) {
            *size = (*size as f64 * scale).floor() as usize;
        }
        tabulate(shape, |mut at| {
            for (index, scale) in at.iter_mut().zip(scales) {
                *index = (*index as f64 / scale).floor() as usize;
            }
            x.at(at)
        })
    }

    fn batch_norm(&self, x: &Tensor, inputs: &[Option<&Tensor>]) -> Tensor {
        self.expect(&[("epsilon", 1)]);
        let epsilon = self.float("epsilon", 1e-5);
        let [scale, bias, mean, variance] = [1, 2, 3, 4].map(|i| {
            let tensor = inputs[i].unwrap();
            assert_eq!(tensor.shape, [x.shape[1]]);
            &tensor.values
        });
        let inner: usize = x.shape[2..].iter().product();
        let normalise = |(i, v): (usize, &f64)| {
            let c = i / inner % x.shape[1];
            (v - mean[c]) / (variance[c] + epsilon).sqrt() * scale[c] + bias[c]
        };
        Tensor { shape: x.shape.clone(), values: x.values.iter().enumerate().map(normalise).collect() }
    }
}

impl Window {
    fn positions(&self, axis: usize, n: usize) -> usize {
        (n + self.pads[axis] + self.pads[axis + 2] - self.kernel[axis]) / self.stride[axis] + 1
    }

    /// The taps of the window at `at` that lie inside, with the pixels that they meet.
    fn taps(&self, at: [usize; 2], size: [usize; 2]) -> Vec<(usize, usize, usize, usize)> {
        let axis = |axis: usize| {
            let met = move |tap: usize| (at[axis] * self.stride[axis] + tap).checked_sub(self.pads[axis]);
            (0..self.kernel[axis]).filter_map(move |tap| Some((tap, met(tap).filter(|&i| i < size[axis])?)))
        };
        axis(0).flat_map(|(a, y)| axis(1).map(move |(b, x)| (a, b, y, x))).collect()
    }
}

impl Tensor {
    fn four(&self) -> [usize; 4] {
        self.shape.clone().try_into().unwrap()
    }

    fn at(&self, index: [usize; 4]) -> f64 {
        let place = index.iter().zip(&self.shape).fold(0, |place, (&i, &n)| place * n + i);
        self.values[place]
    }
}

fn tabulate(shape: [usize; 4], f: impl Fn([usize; 4]) -> f64) -> Tensor {
    let mut values = Vec::with_capacity(shape.iter().product());
    for n in 0..shape[0] {
        for c in 0..shape[1] {
            for y in 0..shape[2] {
                values.extend((0..shape[3]).map(|x| f([n, c, y, x])));
            }
        }
    }
    Tensor { shape: shape.to_vec(), values }
}
