#include "decode/decode_fuzzing.h"
#include "decode/pglogical.h"

namespace {

// Tables with even OIDs have the columns of the seeds, some of them altered; others are gone.
pgc::CatalogTable Catalog(uint32_t oid) {
  pgc::CatalogTable table;
  if (oid % 2 != 0) return table;
  uint32_t type_oid = 20;
  for (const char* name : {"id", "v", "name", "note", "n"}) {
    table.columns[name] = {.type_oid = type_oid++, .altered_by = oid >> 8};
  }
  return table;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pgc::PglogicalDecoder decoder(
      [](uint32_t oid) -> absl::StatusOr<pgc::CatalogTable> { return Catalog(oid); });
  pgc::DecodeAll(decoder, data, size);
  return 0;
}
