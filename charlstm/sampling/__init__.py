"""Logits -> distribution -> text."""
