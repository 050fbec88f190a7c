"""What runs inside the sandbox: sent there as source text, so that the sandbox needs no view of this checkout.

Modules, in the order in which they are loaded: `codec` (plain values as frames), `hardening` (limits and system-call
filter), `candidate` (the process that runs model-written code), `tester` (the process that runs the tests),
`supervisor` (starts one of each per program). Standard library only.
"""

LOAD_ORDER = ("codec", "hardening", "candidate", "tester", "supervisor")
