"""Distillation: fitting a field to another field, so that any architecture becomes any other."""
