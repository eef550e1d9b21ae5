"""One test an attack, named by it. Whoever may push, run a registry, or write beside us is the attacker."""
