// The share of one workgroup in some tensors that are updated in one launch: 512 neighbouring elements of one of them, tensor
// after tensor. Joined with a file that declares TENSORS and the parameters, and takes eight elements per invocation.
struct Share {
    tensor: u32,
    first: u32,
    elements: u32, // of the tensor; 0 where a workgroup is one too many
}

fn share(number: u32) -> Share {
    var elements = array<u32, TENSORS>(
        // repeat TENSORS
        parameters.elements_0,
        // end
    );
    var left = number;
    for (var tensor = 0u; tensor < TENSORS; tensor++) {
        let groups = (elements[tensor] + 511u) / 512u;
        if (left < groups) { return Share(tensor, left * 512u, elements[tensor]); }
        left -= groups;
    }
    return Share();
}
