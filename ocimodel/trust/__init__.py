"""Who is believed: evidence, policy, verdict. Pure: no I/O, no clock."""
