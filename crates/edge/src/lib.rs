//! Foundation models, distillation and bundle packing on a high-compute node.
