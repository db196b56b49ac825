#include "decode/decode_fuzzing.h"
#include "decode/pgoutput.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pgc::PgOutputDecoder decoder;
  decoder.set_sequences("a secret of ours", [] {});
  pgc::DecodeAll(decoder, data, size);
  return 0;
}
