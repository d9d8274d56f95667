"""BERT and DistilBERT with the poolings of Transplant that transformers lacks.

`config.pooling` says how the pieces of a text become the vector that the classifier reads: `mean`, `cls` or `attention`.
"""

import torch
from torch import nn
from torch.nn import functional
from transformers import (
    BertConfig,
    BertModel,
    BertPreTrainedModel,
    DistilBertConfig,
    DistilBertModel,
    DistilBertPreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput


class TransplantBertConfig(BertConfig):
    model_type = "transplant_bert"


class TransplantDistilBertConfig(DistilBertConfig):
    model_type = "transplant_distilbert"


class LearnedPooling(nn.Module):
    """A weighted mean over the pieces; Yang et al. 2016."""

    def __init__(self, width):
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, hidden, mask):
        scores = self.score(torch.tanh(self.dense(hidden))).squeeze(-1)
        weights = torch.softmax(scores.masked_fill(mask == 0, torch.finfo(scores.dtype).min), dim=-1)
        return (weights.unsqueeze(-1) * hidden).sum(1)


class Pooled:
    """What both networks have in common: pooling, classifier and loss."""

    def add_head(self, config, width):
        self.num_labels = config.num_labels
        if config.pooling == "attention":
            self.pooling = LearnedPooling(width)
        elif config.pooling not in ("mean", "cls"):
            raise ValueError(f"there is no pooling `{config.pooling}`")
        self.classifier = nn.Linear(width, config.num_labels)

    def classify(self, hidden, attention_mask, labels):
        mask = torch.ones(hidden.shape[:2], device=hidden.device) if attention_mask is None else attention_mask
        mask = mask.to(hidden.dtype)
        if self.config.pooling == "cls":
            vector = hidden[:, 0]
        elif self.config.pooling == "mean":
            vector = (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        else:
            vector = self.pooling(hidden, mask)
        logits = self.classifier(vector)
        loss = None
        if labels is not None and self.config.problem_type == "regression":
            loss = functional.mse_loss(logits.squeeze(-1), labels.to(logits.dtype))
        elif labels is not None:
            loss = functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class TransplantBert(Pooled, BertPreTrainedModel):
    config_class = TransplantBertConfig

    def __init__(self, config):
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.add_head(config, config.hidden_size)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, token_type_ids=None, labels=None, **_):
        out = self.bert(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        return self.classify(out[0], attention_mask, labels)


class TransplantDistilBert(Pooled, DistilBertPreTrainedModel):
    config_class = TransplantDistilBertConfig

    def __init__(self, config):
        super().__init__(config)
        self.distilbert = DistilBertModel(config)
        self.add_head(config, config.dim)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, labels=None, **_):
        out = self.distilbert(input_ids, attention_mask=attention_mask)
        return self.classify(out[0], attention_mask, labels)
