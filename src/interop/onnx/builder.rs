//! A graph of ONNX nodes under construction.

use super::messages::{
    AttributeProto, Dimension, FLOAT, GraphProto, INT64, NodeProto, TensorProto, TensorShapeProto, TensorTypeProto,
    TypeProto, ValueInfoProto,
};

/// How the numbers of a value lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// (N, values).
    Rows,
    /// (N, height, width, channels), as degrain has pictures.
    Nhwc,
    /// (N, channels, height, width), as ONNX's operators take pictures.
    Nchw,
}

/// What a node puts out.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) name: String,
    pub(super) layout: Layout,
}

/// A graph to which nodes are added in the order of their computation.
#[derive(Default)]
pub(super) struct Builder {
    graph: GraphProto,
}

impl Builder {
    /// The input (N, dims…).
    pub(super) fn input(&mut self, name: &str, dims: &[usize], doc: &str, layout: Layout) -> Value {
        self.graph.input.push(value_info(name, dims, doc));
        Value { name: name.to_owned(), layout }
    }

    /// A node of one output, which is called like the node.
    pub(super) fn node(
        &mut self,
        op_type: &str,
        name: &str,
        inputs: &[&str],
        attribute: Vec<AttributeProto>,
        layout: Layout,
    ) -> Value {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: op_type.to_owned(),
            attribute,
        });
        Value { name: name.to_owned(), layout }
    }

    /// The picture `x` in another layout.
    pub(super) fn in_layout(&mut self, x: Value, layout: Layout) -> Value {
        let (suffix, axes) = match layout {
            _ if x.layout == layout => return x,
            Layout::Nchw => ("nchw", [0, 3, 1, 2]),
            Layout::Nhwc => ("nhwc", [0, 2, 3, 1]),
            Layout::Rows => return self.flattened(x),
        };
        let name = format!("{}.{suffix}", x.name);
        // A code may go out and on to the decoder in the same layout.
        if self.makes(&name) {
            return Value { name, layout };
        }
        self.node("Transpose", &name, &[&x.name], vec![AttributeProto::ints("perm", axes)], layout)
    }

    /// The picture `x` as rows, channels fastest.
    fn flattened(&mut self, x: Value) -> Value {
        let x = self.in_layout(x, Layout::Nhwc);
        let name = format!("{}.rows", x.name);
        self.node("Flatten", &name, &[&x.name], vec![AttributeProto::int("axis", 1)], Layout::Rows)
    }

    /// A tensor of f32, once under each name; returns the name.
    pub(super) fn floats<'a>(&mut self, name: &'a str, dims: &[usize], values: &[f32]) -> &'a str {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, dims, FLOAT, bytes)
    }

    /// A row of whole numbers, once under each name; returns the name.
    pub(super) fn integers<'a>(&mut self, name: &'a str, values: &[usize]) -> &'a str {
        let bytes = values.iter().flat_map(|&value| (value as i64).to_le_bytes()).collect();
        self.tensor(name, &[values.len()], INT64, bytes)
    }

    fn tensor<'a>(&mut self, name: &'a str, dims: &[usize], data_type: i32, raw_data: Vec<u8>) -> &'a str {
        if !self.graph.initializer.iter().any(|tensor| tensor.name == name) {
            let dims = dims.iter().map(|&n| n as i64).collect();
            self.graph.initializer.push(TensorProto { dims, data_type, name: name.to_owned(), raw_data });
        }
        name
    }

    /// Makes `value` the output `name` (N, dims…), and returns it under that name.
    pub(super) fn output(&mut self, value: Value, name: &str, dims: &[usize], doc: &str) -> Value {
        if self.makes(&value.name) && !self.graph.output.iter().any(|output| output.name == value.name) {
            for node in &mut self.graph.node {
                for used in node.input.iter_mut().chain(&mut node.output).filter(|used| **used == value.name) {
                    name.clone_into(used);
                }
            }
        } else {
            self.node("Identity", name, &[&value.name], Vec::new(), value.layout);
        }
        self.graph.output.push(value_info(name, dims, doc));
        Value { name: name.to_owned(), layout: value.layout }
    }

    fn makes(&self, name: &str) -> bool {
        self.graph.node.iter().any(|node| node.output.iter().any(|output| output == name))
    }

    /// The finished graph.
    pub(super) fn finish(self, name: &str) -> GraphProto {
        GraphProto { name: name.to_owned(), ..self.graph }
    }
}

/// A value of f32 (N, dims…), N of any size.
fn value_info(name: &str, dims: &[usize], doc: &str) -> ValueInfoProto {
    let batch = Dimension { dim_value: None, dim_param: Some("N".to_owned()) };
    let sizes = dims.iter().map(|&n| Dimension { dim_value: Some(n as i64), dim_param: None });
    let shape = Some(TensorShapeProto { dim: std::iter::once(batch).chain(sizes).collect() });
    let tensor_type = Some(TensorTypeProto { elem_type: FLOAT, shape });
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type }), doc_string: doc.to_owned() }
}
