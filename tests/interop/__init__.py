"""Both directions with the tools of other projects, as they are packaged."""
