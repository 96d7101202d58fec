"""The output layer of models that label tokens.

Letters in shapes: D = d_model, L labels.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class LabelHead(nn.Linear):
    """Dropout, and a linear map from states [..., D] to the logits [..., L] of labels.

    Args:
        d_model: width of the states, D
        labels: number of labels, L
        dropout: dropout probability of the states
    """

    def __init__(self, d_model: int, labels: int, dropout: float) -> None:
        super().__init__(d_model, labels)
        self.dropout = dropout

    def forward(self, states: Tensor) -> Tensor:
        """Return the logits [..., L] of states [..., D]."""
        return super().forward(F.dropout(states, self.dropout, self.training))
