/* SPDX-License-Identifier: MIT */
/*
 * commands-qom.c - objects as the protocol's tree of them: "/objects/ID" has
 * the options of that object as properties. Main thread.
 *
 * Of an object nothing but its type's bundle (object.h) changes once it is
 * made, and what is secret of it is not shown.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/json.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/object.h"

/* What a path leads to. */
struct place {
	enum { PLACE_TOP, PLACE_OBJECTS, PLACE_OBJECT } kind;
	struct object *object;
};

/* A path may leave out its beginning: "objects/o", "o". */
static bool find_place(const char *path, struct place *place,
		       struct error **err)
{
	const char *rest = path;

	*place = (struct place){ PLACE_TOP, NULL };
	if (!strcmp(path, "/"))
		return true;
	rest += *rest == '/';
	place->kind = PLACE_OBJECTS;
	if (!strcmp(rest, "objects"))
		return true;
	if (!strncmp(rest, "objects/", strlen("objects/")))
		rest += strlen("objects/");
	else if (*path == '/')
		rest = "";
	place->kind = PLACE_OBJECT;
	place->object = object_find(rest);
	if (!place->object)
		error_set_class(err, ERROR_DEVICE_NOT_FOUND, ENOENT,
				"Device '%s' not found", path);
	return place->object;
}

static void add_property(json_t *list, const char *name, const char *type)
{
	json_array_append_new(list, json_pack("{s:s,s:s}", "name", name,
					      "type", type));
}

static const char *property_type(const struct option *o)
{
	switch (o->type) {
	case OPT_BOOL:
		return "bool";
	case OPT_SIZE:
		return "size";
	case OPT_UINT:
		return "uint32";
	case OPT_UINT64:
		return "uint64";
	case OPT_INT64:
		return "int";
	case OPT_FLAGS:
	case OPT_LIST:
		return "list";
	case OPT_STRING:
	case OPT_ENUM:
		break;
	}
	return "string";
}

static void add_type_properties(json_t *list, const struct object_type *type)
{
	for (const struct option *o = type->options; o && o->name; o++)
		add_property(list, o->name, property_type(o));
	if (type->bundle)
		add_property(list, type->bundle, type->bundle_type);
}

static void add_object_properties(json_t *list)
{
	char type[80];

	for (struct object *o = object_first(); o; o = o->next) {
		if (!object_is_found(o))
			continue;
		snprintf(type, sizeof(type), "child<%s>", o->type->name);
		add_property(list, o->id, type);
	}
}

json_t *cmd_qom_list(json_t *args, struct error **err)
{
	struct place place;
	json_t *list;

	if (!find_place(arg_string(args, "path", ""), &place, err))
		return NULL;
	list = json_array();
	add_property(list, "type", "string");
	if (place.kind == PLACE_TOP)
		add_property(list, "objects", "child<container>");
	else if (place.kind == PLACE_OBJECTS)
		add_object_properties(list);
	else
		add_type_properties(list, place.object->type);
	return list;
}

static const char *place_type(const struct place *place)
{
	return place->object ? place->object->type->name : "container";
}

/* What was not given is a string too. */
static json_t *property_value(const struct option *o, const void *opts)
{
	json_t *value = option_value(o, opts);

	return value ? value : json_text("");
}

static bool is_bundle(const struct place *place, const char *name)
{
	return place->object && place->object->type->bundle &&
		!strcmp(place->object->type->bundle, name);
}

static const struct option *find_property(const struct place *place,
					  const char *name, struct error **err)
{
	const struct option *o = place->object ?
		place->object->type->options : NULL;

	for (; o && o->name; o++)
		if (!strcmp(o->name, name))
			return o;
	error_set(err, ENOENT, "Property '%s.%s' not found",
		  place_type(place), name);
	return NULL;
}

json_t *cmd_qom_get(json_t *args, struct error **err)
{
	const char *name = arg_string(args, "property", "");
	const struct option *o;
	struct place place;

	if (!find_place(arg_string(args, "path", ""), &place, err))
		return NULL;
	if (!strcmp(name, "type"))
		return json_string(place_type(&place));
	if (is_bundle(&place, name))
		return object_bundle(place.object);
	o = find_property(&place, name, err);
	if (o && !o->secret)
		return property_value(o, place.object->opts);
	if (o)
		error_set(err, EACCES, "Property '%s.%s' is not readable",
			  place_type(&place), name);
	return NULL;
}

static json_t *set_bundle(struct object *object, json_t *args,
			  struct error **err)
{
	int rc;

	object_get(object, "command");
	rc = object_set_bundle(object, json_object_get(args, "value"), err);
	object_put(object, "command");
	return rc < 0 ? NULL : json_object();
}

json_t *cmd_qom_set(json_t *args, struct error **err)
{
	const char *name = arg_string(args, "property", "");
	bool is_type = !strcmp(name, "type");
	struct place place;

	if (!find_place(arg_string(args, "path", ""), &place, err))
		return NULL;
	if (is_bundle(&place, name))
		return set_bundle(place.object, args, err);
	if (!is_type && !find_property(&place, name, err))
		return NULL;
	if (!is_type && place.object->type->bundle)
		error_set(err, EROFS, "Property cannot be set after "
			  "initialization");
	else
		error_set(err, EROFS, "Property '%s.%s' is not writable",
			  place_type(&place), name);
	return NULL;
}

json_t *cmd_qom_list_types(json_t *args, struct error **err)
{
	const char *implements = arg_string(args, "implements", "object");
	bool all = !strcmp(implements, "object") ||
		!strcmp(implements, "user-creatable");
	json_t *list = json_array();

	(void)err;
	for (unsigned i = 0; object_types[i]; i++)
		if (all || !strcmp(object_types[i]->name, implements))
			json_array_append_new(list, json_pack("{s:s,s:s}",
				"name", object_types[i]->name,
				"parent", "object"));
	return list;
}

json_t *cmd_qom_list_properties(json_t *args, struct error **err)
{
	const char *name = arg_string(args, "typename", "");
	const struct object_type *type = object_type_find(name);
	json_t *list;

	if (!type) {
		error_set_class(err, ERROR_DEVICE_NOT_FOUND, ENOENT,
				"Class '%s' not found", name);
		return NULL;
	}
	list = json_array();
	add_property(list, "type", "string");
	add_type_properties(list, type);
	return list;
}
