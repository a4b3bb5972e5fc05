"""Signatures of models and signed statements about them, checked for the rules `signed` and `attested`.

Rules do no IO, so the gate asks this room first (`verify.verify_rules`) and gives the answers to the rules with the subject.

- What nobody trusted has signed is never parsed beyond what is needed to check its signature; that much is bounded in size,
  depth and number, and malformed input ends in one error that names the file.
- A statement that is absent, is signed by somebody else or speaks about other bytes is an answer (`Refused`), for the rule to
  judge. A file that cannot be read as a signature at all is an error: nothing can be said.
- Keys come from the policy, never from the artifact.
- `cryptography` and `model_signing` are imported only when a policy asks (extras `signing` and `model-signing`).
"""
