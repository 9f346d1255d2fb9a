"""Generated code of protos/quic/backbone/v1/backbone.proto (`just protos`); nothing here is written by hand."""
