"""Policies: YAML to rules, rules to findings, findings to a verdict."""
