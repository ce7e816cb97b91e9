// Fields that change the arithmetic of some model and that the reader of the family at hand never
// asked for: a config that sets one asks for a model that would be run half right, and is refused
// by the field's name. What a field's off value is (null, false, 0, an empty string or list, for
// some also 1) passes, and so do fields nobody knows: configs are full of notes. The tables hold
// what the configuration classes of transformers and the keys of GGUF name. Called last, when the
// family has read what it knows. Internal to formats/.
#pragma once

#include "formats/gguf_fields.h"
#include "formats/json_fields.h"
#include "spec/model_config.h"

namespace ruvllm {

void refuse_foreign_fields(JsonFields& fields, const ModelConfig& config);
void refuse_foreign_fields(GgufFields& fields);

}  // namespace ruvllm
