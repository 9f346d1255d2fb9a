"""Generated code of protos/deepflow/agent.proto (`just protos`); nothing here is written by hand."""
