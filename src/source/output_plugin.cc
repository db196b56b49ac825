#include "source/output_plugin.h"

#include <fmt/format.h>

#include <utility>

#include "base/status_macros.h"
#include "decode/pglogical.h"
#include "decode/pgoutput.h"
#include "source/catalog_reader.h"
#include "source/ddl_capture.h"
#include "source/pglogical.h"
#include "source/publication.h"
#include "source/slot.h"
#include "source/tables.h"

namespace pgc {
namespace {

class PgOutput final : public OutputPlugin {
 public:
  explicit PgOutput(PublicationOptions publication)
      : publication_(std::move(publication)), watch_(publication_) {}

  std::string_view name() const override { return kPgOutput; }
  bool sends_pieces() const override { return true; }
  bool sends_logical_messages() const override { return true; }
  absl::Status Check(Connection& sql, const std::stop_token& stop) override {
    return CheckChoice(sql, publication_.choice, stop);
  }
  absl::Status CheckGoesOn(Connection& sql, const std::stop_token& stop) override {
    return CheckPublicationLives(sql, publication_.name, stop);
  }
  absl::Status Prepare(Connection& sql, const std::stop_token& stop) override {
    return EnsurePublication(sql, publication_, stop);
  }
  absl::Status Watch(Connection& sql, const std::stop_token& stop) override {
    return watch_.Look(sql, stop);
  }
  std::string StartOptions(int /*server_version*/, bool in_pieces) const override {
    return fmt::format("{}, publication_names {}, binary 'true', messages 'true'",
                       in_pieces ? "proto_version '2', streaming 'on'" : "proto_version '1'",
                       QuoteLiteral(QuoteIdentifier(publication_.name)));
  }
  std::unique_ptr<EventDecoder> NewDecoder(std::stop_token /*stop*/) const override {
    return std::make_unique<PgOutputDecoder>(publication_.name);
  }

 private:
  const PublicationOptions publication_;
  TableWatch watch_;
};

class PglogicalOutput final : public OutputPlugin {
 public:
  PglogicalOutput(std::string url, std::string slot, PglogicalOptions options)
      : url_(std::move(url)),
        slot_(std::move(slot)),
        options_(std::move(options)),
        watch_(options_) {}

  std::string_view name() const override { return kPglogicalOutput; }
  bool sends_pieces() const override { return false; }
  bool sends_logical_messages() const override { return false; }
  absl::Status Check(Connection& sql, const std::stop_token& stop) override {
    return CheckPglogical(sql, options_, stop);
  }
  absl::Status CheckGoesOn(Connection& /*sql*/, const std::stop_token& /*stop*/) override {
    return absl::OkStatus();
  }
  absl::Status Prepare(Connection& sql, const std::stop_token& stop) override {
    return options_.ddl ? EnsureDdlCapture(sql, stop) : absl::OkStatus();
  }
  absl::Status Watch(Connection& sql, const std::stop_token& stop) override {
    return watch_.Look(sql, stop);
  }
  std::string StartOptions(int server_version, bool /*in_pieces*/) const override {
    return PglogicalStartOptions(server_version, options_.sets);
  }
  std::unique_ptr<EventDecoder> NewDecoder(std::stop_token stop) const override {
    return std::make_unique<PglogicalDecoder>(
        [reader = std::make_shared<CatalogReader>(url_, slot_, std::move(stop))](
            uint32_t oid, uint32_t xid) { return reader->Read(oid, xid); });
  }

 private:
  const std::string url_;
  const std::string slot_;
  const PglogicalOptions options_;
  ReplicationSetWatch watch_;
};

}  // namespace

std::string_view PluginName(DecodePlugin plugin) {
  return plugin == DecodePlugin::kPglogical ? kPglogicalOutput : kPgOutput;
}

absl::StatusOr<std::unique_ptr<OutputPlugin>> NewOutputPlugin(const PostgresSourceOptions& options,
                                                              const std::string& slot) {
  if (options.decode_plugin == DecodePlugin::kPgOutput) {
    PublicationOptions publication{.name = slot,
                                   .choice = {},
                                   .via_partition_root = options.via_partition_root,
                                   .ddl = !options.no_ddl,
                                   .replica_identity_full = options.replica_identity_full};
    PGC_ASSIGN_OR_RETURN(publication.choice,
                         TableChoice::Parse(options.tables, options.skip_tables));
    return std::make_unique<PgOutput>(std::move(publication));
  }
  if (!options.tables.empty() || !options.skip_tables.empty() || options.replica_identity_full) {
    return absl::FailedPreconditionError(
        "--tables, --skip-tables and --replica-identity-full are for pgoutput: pglogical_output "
        "sends the tables of its replication sets (--replication-sets)");
  }
  return std::make_unique<PglogicalOutput>(
      options.url, slot,
      PglogicalOptions{.sets = options.replication_sets, .ddl = !options.no_ddl});
}

}  // namespace pgc
