"""Dropout, and attention with dropout, as functions, named after those of torch.nn.functional."""

from companion.nn.attention import scaled_dot_product_attention
from companion.nn.dispatch import dropout

__all__ = ["dropout", "scaled_dot_product_attention"]
